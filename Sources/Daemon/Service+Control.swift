import Monitor
import QMPTypes

// The commands of Schema/control.json.
extension Service {
    func queryVersion() async throws(QMPError) -> VersionInfo {
        VersionInfo(
            qemu: VersionTriple(major: version.major, minor: version.minor, micro: version.micro),
            package: version.package)
    }

    func quit() async throws(QMPError) { beginQuit() }
}
