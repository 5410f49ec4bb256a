/// What each command does in each state, as qmp-semantics §9.4, §9.5, §10.5 and §10.6 have it.
///
/// A row holds for the commands it names, in the states that have all its words. `told` is the order of what management
/// and the initiator learn: `tray-open`, `tray-closed` (DEVICE_TRAY_MOVED), `deleted` (DEVICE_DELETED), `lost` and `found`
/// (a medium is out of reach, or in it), `eject?` (the initiator is asked). `then` is what differs afterwards; `mode` is
/// what the read-only mode makes of the root state.
enum StateTable {
    struct Row {
        var commands: [String]
        var state: [String]
        var reply: String
        var told: [String]
        var then: [String]
        var text: String
    }

    static let rows: [Row] = text.split(separator: "\n").map { line in
        let fields = line.split(separator: "|", omittingEmptySubsequences: false).map {
            String($0.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        func words(_ index: Int) -> [String] {
            index < fields.count ? fields[index].split(separator: " ").map(String.init) : []
        }
        return Row(
            commands: words(0), state: words(1), reply: fields[2], told: words(3), then: words(4), text: String(line))
    }

    static let locked = "Device 'D' is locked and force was not specified, wait for tray to open and try again"

    static let text = """
        open                | fixed                      | Device 'D' is not removable
        open                | tray closed unlocked empty | ok | tray-open | open
        open                | tray closed unlocked full  | ok | tray-open lost | open
        open                | tray closed locked         | ok | eject?
        open open!          | tray open                  | ok
        open open!          | floppy                     | ok
        open open!          | bare                       | ok
        open!               | fixed                      | Device 'D' is not removable
        open!               | tray closed empty          | ok | tray-open | open unlocked
        open!               | tray closed full           | ok | tray-open lost | open unlocked
        close               | fixed                      | Device 'D' is not removable
        close               | tray closed                | ok
        close               | tray open empty            | ok | tray-closed | closed
        close               | tray open full             | ok | tray-closed found | closed
        close               | floppy                     | ok
        close               | bare                       | ok
        remove              | fixed                      | Device 'D' is not removable
        remove              | tray closed                | Tray of device 'D' is not open
        remove              | tray open                  | ok |  | empty
        remove eject eject! | floppy empty               | ok
        remove eject eject! | floppy full                | ok | lost | empty
        remove eject eject! | bare empty                 | ok
        remove eject eject! | bare full                  | ok | lost | empty
        insert-missing      |                            | Node 'missing' not found
        insert-used         |                            | Node 'used' is already in use
        insert-rw insert-ro | fixed                      | Device is not removable
        insert-rw insert-ro | tray closed                | Tray of the device is not open
        insert-rw insert-ro | tray open full             | There already is a medium in the device
        insert-rw           | tray open empty            | ok |  | lent
        insert-ro           | tray open empty            | ok |  | lent ro
        insert-rw insert-ro | floppy full                | There already is a medium in the device
        insert-rw           | floppy empty               | ok | found | lent rw
        insert-ro           | floppy empty               | ok | found | lent ro
        insert-rw insert-ro | bare full                  | There already is a medium in the device
        insert-rw           | bare empty                 | ok | found | lent rw
        insert-ro           | bare empty                 | ok | found | lent ro
        eject eject!        | fixed                      | Device 'D' is not removable
        eject               | tray closed locked         | \(locked) | eject?
        eject               | tray closed unlocked empty | ok | tray-open | open
        eject               | tray closed unlocked full  | ok | tray-open lost | open empty
        eject eject!        | tray open                  | ok |  | empty
        eject!              | tray closed empty          | ok | tray-open | open unlocked
        eject!              | tray closed full           | ok | tray-open lost | open empty unlocked
        change change-read-only change-read-write change-u-read-only change! | fixed | Device 'D' is not removable
        change change-read-only change-read-write change-u-read-only | tray closed locked | \(locked) | eject?
        change change-read-only change-read-write change-u-read-only | tray closed unlocked empty | ok | tray-open tray-closed found | own mode
        change change-read-only change-read-write change-u-read-only | tray closed unlocked full | ok | tray-open lost tray-closed found | own mode
        change change-read-only change-read-write change-u-read-only change! | tray open | ok | tray-closed found | own closed mode
        change change-read-only change-read-write change-u-read-only change! | floppy | ok | found | own mode
        change change-read-only change-read-write change-u-read-only change! | bare | ok | found | own mode
        change!             | tray closed empty          | ok | tray-open tray-closed found | own unlocked
        change!             | tray closed full           | ok | tray-open lost tray-closed found | own unlocked
        change-u            | rw                         | Could not open 'F': Permission denied
        change-u            | fixed ro                   | Device 'D' is not removable
        change-u            | tray closed locked ro      | \(locked) | eject?
        change-u            | tray closed unlocked empty ro | ok | tray-open tray-closed found | own
        change-u            | tray closed unlocked full ro | ok | tray-open lost tray-closed found | own
        change-u            | tray open ro               | ok | tray-closed found | own closed
        change-u            | floppy ro                  | ok | found | own
        change-u            | bare ro                    | ok | found | own
        change-u-read-write |                            | Could not open 'F': Permission denied
        change-missing      |                            | Could not open 'F': No such file or directory
        change-qcow2        |                            | Image is not in qcow2 format
        change-nope         |                            | Unknown driver 'nope'
        delete              | bare empty                 | ok |  | gone
        delete              | bare own                   | ok | lost | gone
        delete              | bare lent                  | Block device D is in use
        delete              | fixed                      | Block backend D is in use
        delete              | tray                       | Block backend D is in use
        delete              | floppy                     | Block backend D is in use
        delete-node         | full                       | Node N is in use by D
        unplug              | bare                       | DeviceNotFound: Device 'D' not found
        unplug              | fixed                      | ok | lost deleted | gone
        unplug              | tray closed full           | ok | lost deleted | gone
        unplug              | tray closed empty          | ok | deleted | gone
        unplug              | tray open                  | ok | deleted | gone
        unplug              | floppy full                | ok | lost deleted | gone
        unplug              | floppy empty               | ok | deleted | gone
        lock                | tray                       | ok |  | locked
        lock unlock         | fixed                      | ok
        lock unlock         | floppy                     | ok
        lock unlock         | bare                       | ok
        unlock              | tray                       | ok |  | unlocked
        push                | tray closed locked         | refused
        push                | tray closed unlocked empty | ok | tray-open | open
        push                | tray closed unlocked full  | ok | tray-open lost | open
        push                | tray open                  | ok
        pull                | tray closed                | ok
        pull                | tray open empty            | ok | tray-closed | closed
        pull                | tray open full             | ok | tray-closed found | closed
        push                | fixed                      | refused
        push                | floppy                     | refused
        push                | bare                       | refused
        pull                | fixed                      | ok
        pull                | floppy                     | ok
        pull                | bare                       | ok
        """
}
