public import Graph

/// Options in one line.
public enum Make {
    public static func file(_ path: String, _ name: String? = nil, _ common: CommonOptions = CommonOptions())
        -> NodeOptions
    {
        NodeOptions(.file(FileDriverOptions(filename: path)), nodeName: name, common: common)
    }

    public static func null(_ name: String, size: UInt64? = nil, _ common: CommonOptions = CommonOptions())
        -> NodeOptions
    {
        NodeOptions(.nullCo(NullOptions(size: size, readZeroes: true)), nodeName: name, common: common)
    }

    public static func raw(
        _ name: String?, _ file: ChildReference, offset: UInt64? = nil, size: UInt64? = nil,
        _ common: CommonOptions = CommonOptions()
    ) -> NodeOptions {
        NodeOptions(.raw(RawOptions(file: file, offset: offset, size: size)), nodeName: name, common: common)
    }

    public static func qcow2(
        _ name: String?, _ file: ChildReference, backing: BackingReference? = nil,
        _ common: CommonOptions = CommonOptions()
    ) -> NodeOptions {
        NodeOptions(.qcow2(Qcow2Options(file: file, backing: backing)), nodeName: name, common: common)
    }

    public static func qcow2(
        _ name: String?, _ path: String, backing: BackingReference? = nil, _ common: CommonOptions = CommonOptions()
    ) -> NodeOptions {
        qcow2(name, .options(file(path)), backing: backing, common)
    }
}

extension CommonOptions {
    public static let readOnly = CommonOptions(isReadOnly: true)
}
