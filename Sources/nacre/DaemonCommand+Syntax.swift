import Commands
import Daemon

extension DaemonCommand {
    static let syntax = CommandSyntax(
        "daemon", "Serves what options and QMP say, as qemu-storage-daemon does.", details: details,
        options: [version, trace] + nodes + serving + process + authority, examples: examples)

    /// What qemu-storage-daemon takes.
    static let qemuSyntax = CommandSyntax(
        "qemu-storage-daemon", syntax.summary, details: details,
        options: [version, trace] + nodes.filter { $0.long != DaemonOption.Kind.device.rawValue } + serving + process,
        examples: examples)

    private static let details = [
        """
        Options are carried out strictly in their order: a node is made before what stands on it, and an object before \
        what names it. Each takes KEY=VALUE pairs, with dots for what lies deeper and a doubled comma for a comma, or a \
        JSON object.
        """
    ]

    private static let examples = [
        CommandSyntax.Example(
            """
            --blockdev driver=qcow2,node-name=disk,file.driver=file,file.filename=disk.qcow2 \\
                  --nbd-server addr.type=unix,addr.path=nbd.sock --export type=nbd,id=e,node-name=disk,writable=on \\
                  --chardev socket,id=c,path=qmp.sock,server=on,wait=off --monitor c
            """, "serve an image over NBD, and take orders over QMP")
    ]

    private static let version = OptionSyntax("version", short: "V", group: .general, "say the version")
    private static let trace = OptionSyntax(
        "trace", short: "T", value: "PATTERN", group: .general, "accepted; there are no trace points")

    // MARK: what is served

    private static let nodeGroup = OptionGroup("Nodes, objects and devices")
    private static let nodes = [
        of(
            .blockdev, "[driver=]DRIVER,node-name=NAME,…", nodeGroup,
            """
            add a block node: file, host_device, null-co, raw, qcow2 or a filter; the rest is as in the QMP command \
            blockdev-add
            """),
        of(
            .object, "[qom-type=]TYPE,id=ID,…", nodeGroup,
            """
            make an object that others refer to by its id: secret,file=PATH[,format=raw|base64] for a password or key, \
            or throttle-group with its limits
            """),
        of(
            .device, "[driver=]MODEL,id=ID,…", nodeGroup,
            """
            make a device: scsi-hd, ide-hd or virtio-blk (a disk that stays), scsi-cd or ide-cd (with a tray), floppy \
            (removable, without one); drive=NODE puts a medium in, and there are share-rw=on|off and serial=TEXT
            """),
    ]

    private static let servingGroup = OptionGroup("Serving")
    private static let serving = [
        of(
            .nbdServer, "addr.type=TYPE,addr.…=…", servingGroup,
            """
            the NBD server that exports use: unix,addr.path=PATH or inet,addr.host=HOST,addr.port=PORT, and \
            max-connections=COUNT
            """),
        of(
            .export, "[type=]TYPE,id=ID,…", servingGroup,
            """
            give a node or a device to others: nbd,node-name=NODE with name=NAME, description=TEXT, writable=on|off, \
            allocation-depth=on|off, bitmaps.0=NAME; or iscsi,target=IQN,lun.0=DEVICE with writable=on|off, \
            portal.host=HOST, portal.port=PORT (127.0.0.1 and 3260 if not given), initiators.0=IQN, chap.user=NAME, \
            chap.secret=ID, mutual-chap.user=NAME and mutual-chap.secret=ID
            """),
        of(
            .chardev, "TYPE,id=ID,…", servingGroup,
            """
            what a monitor is spoken with: socket,path=PATH or socket,host=HOST,port=PORT, with server=on and \
            wait=off; or stdio
            """),
        of(.monitor, "[chardev=]ID[,pretty=on|off]", servingGroup, "a QMP monitor on a character device"),
    ]

    private static func of(_ kind: DaemonOption.Kind, _ value: ValueSyntax, _ group: OptionGroup, _ help: String)
        -> OptionSyntax
    {
        OptionSyntax(kind.rawValue, value: value, group: group, help)
    }

    // MARK: the process

    private static let processGroup = OptionGroup("Process")
    static let daemonize = OptionSyntax(
        "daemonize", group: processGroup, "go on in the background once everything is ready")
    static let pidFile = OptionSyntax(
        "pidfile", value: .file("PATH"), group: processGroup, "write the process id there once everything is ready")
    private static let process = [daemonize, pidFile]

    private static let authorityGroup = OptionGroup("What may be opened, and how much may be held")
    static let allowPath = OptionSyntax(
        "allow-path", value: .folder(), group: authorityGroup,
        "open files that images name where they lie in this folder or below; may be given again")
    static let sealed = OptionSyntax(
        "sealed", group: authorityGroup,
        "open nothing that is not named here or over QMP, as without --allow-path; it says so")
    static let memory = OptionSyntax(
        "memory", value: "SIZE", group: authorityGroup,
        "what all clients together may make the daemon hold; 512M if not given")
    private static let authority = [allowPath, sealed, memory]
}
