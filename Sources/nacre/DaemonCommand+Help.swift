extension DaemonCommand {
    static func help(asQEMU: Bool) -> String {
        """
        Usage: \(asQEMU ? "qemu-storage-daemon" : "nacre daemon") [options]
        Serves block nodes, as the options and then QMP clients say. Options are carried out in their order.

          -h, --help             say this and exit
          -V, --version          say the version and exit
          -T, --trace <pattern>  accepted; there are no trace points

          --blockdev [driver=]<driver>,node-name=<name>[,<option>=<value>...]
          --blockdev <JSON object>
                                 add a block node: file, host_device, null-co, raw, qcow2; the options and members
                                 are those of the QMP command blockdev-add
          --chardev socket,id=<id>,path=<path>[,server=on][,wait=off]
          --chardev socket,id=<id>,host=<host>,port=<port>[,server=on][,wait=off]
          --chardev stdio,id=<id>
                                 a character device for a monitor
          --monitor [chardev=]<id>[,mode=control][,pretty=on|off]
                                 a QMP monitor on a character device
          --nbd-server addr.type=unix,addr.path=<path>[,max-connections=<n>]
          --nbd-server addr.type=inet,addr.host=<host>,addr.port=<port>[,max-connections=<n>]
                                 the NBD server that exports use
          --export [type=]nbd,id=<id>,node-name=<node>[,name=<name>][,description=<text>]
                   [,writable=on|off][,allocation-depth=on|off]
                                 export a node over NBD
          --export [type=]iscsi,id=<id>,target=<iqn>,lun.0=<device or node>[,lun.1=...][,writable=on|off]
                   [,portal.host=<host>,portal.port=<port>][,initiators.0=<iqn>...]
                   [,chap.user=<name>,chap.secret=<object id>][,mutual-chap.user=<name>,mutual-chap.secret=<object id>]
                                 export devices as an iSCSI target, on 127.0.0.1 port 3260 where no portal is named

          --object secret,id=<id>,file=<path>[,format=raw|base64]
                                 a password or key that exports refer to by its id

          --daemonize            go on in the background once everything is ready
          --pidfile <path>       write the process id to a file once everything is ready
        \(asQEMU ? "" : ours)
        """
    }

    private static let ours = """

          --device [driver=]<model>,id=<id>[,drive=<node or backend>][,share-rw=on|off][,serial=<text>]
                                 make a device: scsi-hd, ide-hd or virtio-blk (a disk that stays), scsi-cd or ide-cd
                                 (with a tray), floppy (removable, without one)

          --allow-path <folder>  backing files that images name may be opened in this folder and below; repeatable
          --sealed               nothing is opened that is not named here or over QMP (so it is without --allow-path,
                                 too; --sealed also says so)
          --memory <size>        what all clients together may make the daemon hold; 512M if not given

        """
}
