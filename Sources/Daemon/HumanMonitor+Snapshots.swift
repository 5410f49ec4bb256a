import Devices
import Graph
import HostStorage
import Image
import Qcow2

// `info snapshots`.
extension HumanMonitor {
    /// The snapshots that all images have by name, then those of each image that others lack. Images are those of devices, then
    /// those that nothing else uses.
    func infoSnapshots() -> String {
        let images = images
        guard !images.isEmpty else { return "no block device can store vmstate for snapshot\n" }
        guard images.contains(where: { !$0.snapshots.isEmpty }) else { return "There is no snapshot available.\n" }
        func isEverywhere(_ snapshot: Snapshot) -> Bool {
            images.allSatisfy { image in image.snapshots.contains { $0.name == snapshot.name } }
        }
        let common = images[0].snapshots.filter(isEverywhere).map { snapshot in
            // One id an image: none of them is everybody's.
            var shown = snapshot
            shown.id = "--"
            return shown
        }
        var text = "List of snapshots present on all disks:\n" + (common.isEmpty ? "None\n" : table(common))
        for image in images {
            let rest = image.snapshots.filter { !isEverywhere($0) }
            if rest.isEmpty { continue }
            text += "\nList of partial (non-loadable) snapshots on '\(image.name)':\n" + table(rest)
        }
        return text
    }

    private func table(_ snapshots: [Snapshot]) -> String {
        ImageInfo.table(snapshots, HostProcess.localTime).joined(separator: "\n") + "\n"
    }

    private var images: [(name: String, snapshots: [Snapshot])] {
        let media = service.devices.devices.compactMap { device in
            device.nodeName.map { (name: device.name, node: $0) }
        }
        let nodes = service.graph.nodes
        let used = Set(media.map(\.node)).union(nodes.flatMap { $0.children.map(\.nodeName) })
        let alone = nodes.reversed().map(\.nodeName).filter { !used.contains($0) }
        return (media + alone.map { (name: "", node: $0) }).compactMap { name, node in
            guard let info = service.graph.node(node), info.image.qcow2 != nil, !info.isReadOnly else { return nil }
            return (name, info.image.snapshots)
        }
    }
}
