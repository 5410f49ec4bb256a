import Image

extension ImgCommand {
    static func help(_ program: String) -> String {
        """
        usage: \(program) [-h | --help] [-V | --version] COMMAND [OPTIONS]
        Creates, inspects, checks and maps disk images, and keeps their dirty bitmaps.

          create [-q] [-f FORMAT] [-b BACKING_FILE -F BACKING_FORMAT] [-u] [-o OPTIONS] FILE [SIZE]
          info [-f FORMAT] [--output=human|json] [--backing-chain] [-U] FILE
          check [-q] [-f FORMAT] [--output=human|json] [-r leaks|all] [-U] FILE
          map [-f FORMAT] [--output=human|json] [-s OFFSET] [-l LENGTH] [-U] FILE
          bitmap --add|--remove|--clear|--enable|--disable|--merge SOURCE … [-b SOURCE_FILE [-F FORMAT]]
                 [-g GRANULARITY] [-f FORMAT] FILE BITMAP

        FORMAT is qcow2 or raw. SIZE, OFFSET and LENGTH are bytes, or k, M, G, T, P, E of 1024 each.
          -b, -F   the file that the new image stands on, and its format
          -u       do not look at the backing file
          -o       options of the format, key=value,…; -o help lists them
          -q       say nothing but errors
          -r       repair leaked clusters, or all that can be repaired\(program == "qemu-img" ? "" : "; the format must be stated")
          -s, -l   where to begin, and how far to go
          -g       bytes that a bit of a new bitmap stands for
          -b, -F   for bitmap: the file whose bitmap SOURCE is merged, and its format
          -U       also where another program has the image open for writing

        check exits with 0 where nothing is wrong, 1 where it could not check, 2 for corruption, 3 for leaked clusters
        alone, 63 for a format without a check.

        """
    }

    static func optionHelp(_ format: String) -> String {
        guard format == "qcow2" else {
            return """
                Supported raw options:
                  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)
                  size=<size>            - Virtual disk size

                """
        }
        return """
            Supported qcow2 options:
              backing_file=<str>     - File name of a base image
              backing_fmt=<str>      - Image format of the base image
              cluster_size=<size>    - qcow2 cluster size
              compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
              compression_type=<str> - Compression method of compressed clusters: zlib or zstd
              lazy_refcounts=<bool (on/off)> - Postpone refcount updates
              preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)
              refcount_bits=<num>    - Width of a reference count entry in bits
              size=<size>            - Virtual disk size

            """
    }
}
