import FoundationEssentials
import Testing

@Suite(
    "A Linux guest", .paced,
    .needs("qemu-img", "nbdinfo", "qemu-system-x86_64", "mkfs.ext4", "e2fsck", "debugfs", "cpio", "gzip", "ldd"))
struct GuestTests {
    /// What the guest does: put ext4 on its disk, write files with their checksums, unmount.
    static let inside = """
        set -e
        PATH=/bin:/sbin:/usr/sbin; export PATH
        /usr/sbin/mke2fs -q -F -t ext4 /dev/vda
        mount -t ext4 /dev/vda /mnt
        mkdir -p /mnt/files
        for n in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/mnt/files/$n bs=64k count=$((n * 3)) 2>/dev/null; done
        rm /mnt/files/3
        (cd /mnt/files && md5sum * > /mnt/sums)
        umount /mnt
        mount -t ext4 -o ro /dev/vda /mnt
        (cd /mnt/files && md5sum -c /mnt/sums) && echo "guest: sums right"
        umount /mnt
        """

    /// The guest, built if it is not there, with an initramfs that has the host's mke2fs too.
    private func guest(_ scratch: Scratch) async throws -> String {
        try await Guest.build(scratch)
        let place = scratch.file("guest")
        let script = """
            set -eu
            mkdir -p extra/usr/sbin extra/etc guest
            tool=$(readlink -f "$(command -v mkfs.ext4)")
            cp "$tool" extra/usr/sbin/mke2fs
            cp /etc/mke2fs.conf extra/etc/
            for file in $(ldd "$tool" | grep -o '/[^ ]*'); do mkdir -p "extra$(dirname "$file")"; cp -L "$file" "extra$file"; done
            (cd extra && find . | cpio -o -H newc --quiet | gzip -1) >extra.gz
            cat "\(Guest.folder)/initrd.gz" extra.gz >guest/initrd.gz
            cp "\(Guest.folder)/vmlinuz" guest/vmlinuz
            """
        try await scratch.ok("sh", "-c", script)
        return place
    }

    @Test("a guest makes ext4 on the served disk, writes and unmounts; e2fsck finds it clean and the files are right")
    func ext4() async throws {
        try await Scratch.use { scratch in
            let folder = try await guest(scratch)
            let image = scratch.file("disk.qcow2")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", image, "96M")
            let daemon = try await scratch.daemon(
                .init(image: image, formatOptions: ["discard=unmap"], fileOptions: ["discard=unmap"]))
            let drive =
                "file=nbd:unix:\(scratch.file(daemon.socket)):exportname=disk,if=virtio,format=raw,discard=unmap"
            let guest = try Guest.boot(Self.inside, ["-drive", drive], in: scratch, from: folder)
            #expect(try await guest.end().contains("guest: sums right"))
            try await daemon.stop()
            try await scratch.expectClean(image)
            try await scratch.ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, "disk.raw")
            try await scratch.ok("e2fsck", "-fn", "disk.raw")
            // Taken out of the file system by a third party, and summed on this side.
            try await scratch.ok("debugfs", "-R", "rdump /files .", "disk.raw")
            try await scratch.ok("debugfs", "-R", "dump /sums sums", "disk.raw")
            let sums = try await scratch.ok("sh", "-c", "cd files && md5sum -c ../sums")
            #expect(sums.split(separator: "\n").count == 7)
        }
    }
}
