import Image

extension ImgCommand {
    static func help(_ program: String) -> String {
        """
        usage: \(program) [-h | --help] [-V | --version] COMMAND [OPTIONS]
        Creates, inspects, checks, maps and resizes disk images, and keeps their snapshots and dirty bitmaps.

          amend [-q] [-p] [-f FORMAT] -o OPTIONS FILE
          create [-q] [-f FORMAT] [-b BACKING_FILE -F BACKING_FORMAT] [-u] [-o OPTIONS] FILE [SIZE]
          info [-f FORMAT] [--output=human|json] [--backing-chain] [-U] FILE
          check [-q] [-f FORMAT] [--output=human|json] [-r leaks|all] [--doctor] [-U] FILE
          snapshot [-q] [-f FORMAT] [-l | -c NAME | -a NAME | -d NAME] [-U] FILE
          map [-f FORMAT] [--output=human|json] [-s OFFSET] [-l LENGTH] [-U] FILE
          resize [-q] [-f FORMAT] [--preallocation=MODE] [--shrink] FILE [+|-]SIZE
          bitmap --add|--remove|--clear|--enable|--disable|--merge SOURCE … [-b SOURCE_FILE [-F FORMAT]]
                 [-g GRANULARITY] [-f FORMAT] FILE BITMAP

        FORMAT is qcow2 or raw. SIZE, OFFSET and LENGTH are bytes, or k, M, G, T, P, E of 1024 each.
          -b, -F   the file that the new image stands on, and its format
          -u       do not look at the backing file
          -o       options of the format, key=value,…; -o help lists them
          -p       show how far it is
          -q       say nothing but errors
          -r       repair leaked clusters, or all that can be repaired\(program == "qemu-img" ? "" : "; the format must be stated")
          -l, -c, -a, -d   list internal snapshots, create one, make the disk what it was at one, delete one
          --doctor say first what damage means to the guest: which ranges of which disk are lost, what can still be read
          -s, -l   where to begin, and how far to go
          --shrink the disk may lose its end, and what is on it
          MODE     what room the new end has at once: off, metadata, falloc or full
          -g       bytes that a bit of a new bitmap stands for
          -b, -F   for bitmap: the file whose bitmap SOURCE is merged, and its format
          -U       also where another program has the image open for writing

        check exits with 0 where nothing is wrong, 1 where it could not check, 2 for corruption, 3 for leaked clusters
        alone, 63 for a format without a check.

        """
    }

    /// The options of a format. `isNamed`: a file is named, so that what its file system may be told is listed too.
    static func amendHelp(_ format: String) -> String {
        guard format == "qcow2" else { return "Format driver '\(format)' does not support option amendment\n" }
        return """
            Amend options for 'qcow2':
              backing_file=<str>     - File name of a base image
              backing_fmt=<str>      - Image format of the base image
              compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
              data_file=<str>        - File name of an external data file
              data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image
              lazy_refcounts=<bool (on/off)> - Postpone refcount updates
              refcount_bits=<num>    - Width of a reference count entry in bits
              size=<size>            - Virtual disk size

            """
    }

    static func optionHelp(_ format: String, isNamed: Bool) -> String {
        var lines = format == "qcow2" ? qcow2Options : ["size=<size>            - Virtual disk size"]
        if isNamed { lines += fileOptions }
        if isNamed, format != "qcow2" {
            lines.append("preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)")
        }
        let list = lines.sorted().map { "  \($0)\n" }.joined()
        if isNamed { return "Supported options:\n\(list)" }
        return "Supported \(format) options:\n\(list)\nThe protocol level may support further options.\n"
            + "Specify the target filename to include those options.\n"
    }

    private static let fileOptions = [
        "extent_size_hint=<size> - Extent size hint for the image file, 0 to disable",
        "nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)",
    ]

    private static let qcow2Options = [
        "backing_file=<str>     - File name of a base image",
        "backing_fmt=<str>      - Image format of the base image",
        "cluster_size=<size>    - qcow2 cluster size",
        "compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])",
        "compression_type=<str> - Compression method used for image cluster compression",
        "extended_l2=<bool (on/off)> - Extended L2 tables",
        "lazy_refcounts=<bool (on/off)> - Postpone refcount updates",
        "preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)",
        "refcount_bits=<num>    - Width of a reference count entry in bits",
        "size=<size>            - Virtual disk size",
    ]
}
