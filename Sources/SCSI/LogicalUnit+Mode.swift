import Bytes
import Devices

// MODE SENSE and MODE SELECT of 6 and 10 bytes (SPC-4 6.11 to 6.14).
extension LogicalUnit {
    private static var allPages: UInt8 { 0x3F }

    private func pages(_ mode: ModeParameters) -> [ModePage] {
        if isDisc {
            return [.errorRecovery, .audio, .power, .exceptions, .timeout, .capabilities(isLocked: drive.isLocked)]
        }
        return [.errorRecovery, mode.caching, mode.control, .exceptions]
    }

    // MARK: MODE SENSE

    func modeSense(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let cdb = command.cdb
        let isLong = cdb.code == 0x5A
        let code = cdb[2] & 0x3F
        // A page has no subpages here; FFh asks for all of them.
        guard cdb[3] == 0 || cdb[3] == 0xFF else { throw .field(3) }
        let body = try pages(code, control: cdb[2] >> 6)
        let descriptor = cdb.has(0x08, at: 1) || isDisc ? [] : blockDescriptor(isLong && cdb.has(0x10, at: 1))
        return modeHeader(isLong, descriptor, body.count) + descriptor + body
    }

    /// The pages asked for, as they are (0), what can be changed (1), or as they were made (2).
    private func pages(_ code: UInt8, control: UInt8) throws(Refusal) -> [UInt8] {
        if control == 3 { throw .check(.savingNotSupported) }
        let pages = pages(control == 2 ? ModeParameters() : mode)
        let chosen = code == Self.allPages ? pages : pages.filter { $0.code == code }
        guard !chosen.isEmpty else { throw .field(2, bit: 5) }
        return chosen.flatMap { control == 1 ? $0.changeable : $0.bytes }
    }

    private func modeHeader(_ isLong: Bool, _ descriptor: [UInt8], _ bodyCount: Int) -> [UInt8] {
        // WP and DPOFUA; reserved on a disc.
        let specific: UInt8 = isDisc ? 0 : (isWriteProtected ? 0x80 : 0) | 0x10
        guard isLong else {
            return [UInt8(clamping: 3 + descriptor.count + bodyCount), 0, specific, UInt8(descriptor.count)]
        }
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt16(6 + descriptor.count + bodyCount))
        // LONGLBA.
        bytes += [0, specific, descriptor.count == 16 ? 1 : 0, 0]
        bytes.append(bigEndian: UInt16(descriptor.count))
        return bytes
    }

    /// The short (SBC-3 6.5.2.2) or the long LBA mode parameter block descriptor (6.5.2.3).
    private func blockDescriptor(_ isLong: Bool) -> [UInt8] {
        var bytes: [UInt8] = []
        if isLong {
            bytes.append(bigEndian: blockCount)
            bytes.append(bigEndian: UInt32(0))
        } else {
            bytes.append(bigEndian: UInt32(clamping: blockCount))
        }
        bytes.append(bigEndian: UInt32(blockSize))
        return bytes
    }

    // MARK: MODE SELECT

    /// Takes all pages or none. Every bit that cannot be changed must be as it is.
    func modeSelect(_ command: SCSICommand, _ data: RawSpan) throws(Refusal) {
        let cdb = command.cdb
        // SP: nothing is saved. PF: pages of another format are not known.
        if cdb.has(0x01, at: 1) { throw .field(1, bit: 0) }
        guard data.byteCount > 0 else { return }
        if !cdb.has(0x10, at: 1) { throw .field(1, bit: 4) }
        var offset = try checkModeHeader(isLong: cdb.code == 0x55, data)
        var selected = mode
        while offset < data.byteCount {
            let page = try selectedPage(data, at: offset)
            selected.take(page)
            offset += page.count
        }
        guard selected != mode else { return }
        mode = selected
        establish(.modeParametersChanged, except: command.nexus)
    }

    /// Answers where the pages begin.
    private func checkModeHeader(isLong: Bool, _ data: RawSpan) throws(Refusal) -> Int {
        let count = isLong ? 8 : 4
        guard data.byteCount >= count else { throw .check(.parameterListLength) }
        let type = data.byte(at: isLong ? 2 : 1)
        guard type == 0 else { throw .parameter(isLong ? 2 : 1) }
        let descriptorCount = isLong ? Int(data.bigEndian(UInt16.self, at: 6)) : Int(data.byte(at: 3))
        guard descriptorCount > 0 else { return count }
        let hasLongDescriptor = isLong && data.byte(at: 4) & 1 != 0
        guard !isDisc, descriptorCount == (hasLongDescriptor ? 16 : 8) else { throw .parameter(isLong ? 6 : 3) }
        guard data.byteCount >= count + descriptorCount else { throw .check(.parameterListLength) }
        // The number of blocks cannot be set; 0 and all ones leave it.
        let blocks = hasLongDescriptor ? data.bigEndian(at: count) : UInt64(data.bigEndian(UInt32.self, at: count))
        let whole = hasLongDescriptor ? UInt64.max : UInt64(UInt32.max)
        guard blocks == 0 || blocks == whole || blocks == blockCount else { throw .parameter(count) }
        let length = data.bigEndian(UInt32.self, at: count + descriptorCount - 4)
        guard UInt64(hasLongDescriptor ? length : length & 0xFF_FFFF) == blockSize else {
            throw .parameter(count + descriptorCount - 4)
        }
        return count + descriptorCount
    }

    private func selectedPage(_ data: RawSpan, at offset: Int) throws(Refusal) -> [UInt8] {
        guard data.byteCount - offset >= 2 else { throw .check(.parameterListLength) }
        // PS is reserved here, and initiators send back what they read; SPF would be a subpage.
        let code = data.byte(at: offset) & 0x7F
        guard let page = pages(mode).first(where: { $0.code == code }) else { throw .parameter(offset, bit: 5) }
        guard Int(data.byte(at: offset + 1)) == page.bytes.count - 2 else { throw .parameter(offset + 1) }
        guard data.byteCount - offset >= page.bytes.count else { throw .check(.parameterListLength) }
        let bytes = data.extracting(offset..<offset + page.bytes.count).array
        for index in 2..<bytes.count where (bytes[index] ^ page.bytes[index]) & ~page.changeable[index] != 0 {
            throw .parameter(offset + index)
        }
        return bytes
    }
}
