import Block
import Graph
import Image

extension NodeOptions {
    /// With what the command line says where these say nothing.
    func with(_ opening: IOOpening) -> NodeOptions {
        var result = self
        result.common.isReadOnly = common.isReadOnly ?? opening.isReadOnly
        if opening.forceShare { result.common.forceShare = common.forceShare ?? true }
        result.common.direct = common.direct ?? opening.cache.isDirect
        result.common.noFlush = common.noFlush ?? opening.cache.ignoresFlushes
        result.common.discard = common.discard ?? (opening.discards ? .unmap : .ignore)
        if opening.detectZeroes != .off { result.common.detectZeroes = common.detectZeroes ?? opening.detectZeroes }
        return opening.aio.map { result.with($0) } ?? result
    }

    /// With this way of reading and writing in its files.
    private func with(_ aio: FileDriverOptions.AIO) -> NodeOptions {
        func below(_ child: ChildReference) -> ChildReference {
            guard case .options(let options) = child else { return child }
            return .options(options.with(aio))
        }
        var result = self
        switch driver {
        case .file(var own):
            own.aio = own.aio ?? aio
            result.driver = .file(own)
        case .hostDevice(var own):
            own.aio = own.aio ?? aio
            result.driver = .hostDevice(own)
        case .raw(var own):
            own.file = below(own.file)
            result.driver = .raw(own)
        case .qcow2(var own):
            own.file = below(own.file)
            own.dataFile = own.dataFile.map { below($0) }
            result.driver = .qcow2(own)
        case .blkdebug(var own):
            own.image = below(own.image)
            result.driver = .blkdebug(own)
        default: break
        }
        return result
    }
}
