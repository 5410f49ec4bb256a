import Image

/// The lists that `-o help` asks for, in qemu-img's layout.
enum FormatOptionText {
    /// What `amend` can change.
    static func amending(_ format: String) throws(ImageError) -> String {
        guard format == "qcow2" else { throw AmendRequest.refusal(of: format) }
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

    /// What a new image can have. `isNamed`: a file is named, so that what its file system may be told is listed too.
    static func creating(_ format: String, isNamed: Bool) throws(ImageError) -> String {
        guard CreateRequest.Kind(rawValue: format) != nil else { throw ImageError(CreateRequest.refusal(of: format)) }
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
        "data_file=<str>        - File name of an external data file",
        "data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image",
        "extended_l2=<bool (on/off)> - Extended L2 tables",
        "lazy_refcounts=<bool (on/off)> - Postpone refcount updates",
        "preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)",
        "refcount_bits=<num>    - Width of a reference count entry in bits",
        "size=<size>            - Virtual disk size",
    ]
}
