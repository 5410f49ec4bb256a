extension Operation {
    /// SBC-3 and MMC-6 alike: reading, and the tray.
    static let read: [Operation] = [
        Operation(
            0x1B, "START STOP UNIT", "01 00 0F F7 00", .none, .own,
            by: .write { unit, command, _ throws(Refusal) in try await unit.startStop(command) }),
        Operation(
            0x1E, "PREVENT ALLOW MEDIUM REMOVAL", "00 0000 03 00", .none, .own,
            by: .change { unit, command, _ throws(Refusal) in try unit.preventRemoval(command) }),
        Operation(
            0x25, "READ CAPACITY (10)", "00 00000000 0000 00 00", .bytesFound { _ in 8 }, .unlessReserved,
            .needsMedium, by: .answer { unit, _ throws(Refusal) in try unit.readCapacity10() }),
        Operation(0x28, "READ (10)", "18 FFFFFFFF 1F FFFF 00", .blocksIn, .read, .needsMedium, by: reads),
        Operation(0xA8, "READ (12)", "18 FFFFFFFF FFFFFFFF 9F 00", .blocksIn, .read, .needsMedium, by: reads),
    ]

    private static let reads = Handler.read { unit, command, room throws(Refusal) in
        try await unit.read(command, into: &room)
    }

    /// SBC-3 alone.
    static let block: [Operation] = transfers + verifications + caches

    private static let transfers: [Operation] = {
        let write = Handler.write { unit, command, data throws(Refusal) in try await unit.write(command, data) }
        let part: Operation.Traits = [.writes, .takesPart]
        let long = "18 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00"
        return [
            Operation(0x08, "READ (6)", "1FFFFF FF 00", .blocksIn, .read, .needsMedium, by: reads),
            Operation(0x88, "READ (16)", long, .blocksIn, .read, .needsMedium, by: reads),
            Operation(0x0A, "WRITE (6)", "1FFFFF FF 00", .blocksOut, .write, part, by: write),
            Operation(0x2A, "WRITE (10)", "18 FFFFFFFF 1F FFFF 00", .blocksOut, .write, part, by: write),
            Operation(0xAA, "WRITE (12)", "18 FFFFFFFF FFFFFFFF 1F 00", .blocksOut, .write, part, by: write),
            Operation(0x8A, "WRITE (16)", long, .blocksOut, .write, part, by: write),
            Operation(
                0x8B, "ORWRITE (16)", long, .blocksOut, .write, .writes,
                by: .write { unit, command, data throws(Refusal) in try await unit.orWrite(command, data) }),
            Operation(
                0x89, "COMPARE AND WRITE", "18 FFFFFFFFFFFFFFFF 000000 FF 1F 00",
                .blocksFound { LogicalUnit.compareBlocks($0) }, .write, .writes,
                by: .write { unit, command, data throws(Refusal) in try await unit.compareAndWrite(command, data) }),
            Operation(
                0x9E, action: 0x10, "READ CAPACITY (16)", "10 0000000000000000 FFFFFFFF 00 00",
                .allocation(at: 10, width: 4), .unlessReserved, .needsMedium,
                by: .answer { unit, _ throws(Refusal) in try unit.readCapacity16() }),
        ]
    }()

    private static let verifications: [Operation] = {
        let verify = Handler.write { unit, command, data throws(Refusal) in try await unit.verify(command, data) }
        let write = Handler.write { unit, command, data throws(Refusal) in
            try await unit.writeAndVerify(command, data)
        }
        let part: Operation.Traits = [.writes, .takesPart]
        let blocks = Transfer.blocksFound { LogicalUnit.verifyBlocks($0) }
        let ten = "16 FFFFFFFF 1F FFFF 00"
        let twelve = "16 FFFFFFFF FFFFFFFF 1F 00"
        let sixteen = "16 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00"
        return [
            Operation(0x2F, "VERIFY (10)", ten, blocks, .read, .needsMedium, by: verify),
            Operation(0xAF, "VERIFY (12)", twelve, blocks, .read, .needsMedium, by: verify),
            Operation(0x8F, "VERIFY (16)", sixteen, blocks, .read, .needsMedium, by: verify),
            Operation(0x2E, "WRITE AND VERIFY (10)", ten, .blocksOut, .write, part, by: write),
            Operation(0xAE, "WRITE AND VERIFY (12)", twelve, .blocksOut, .write, part, by: write),
            Operation(0x8E, "WRITE AND VERIFY (16)", sixteen, .blocksOut, .write, part, by: write),
        ]
    }()

    private static let caches: [Operation] = {
        let prefetch = Handler.change { unit, command, _ throws(Refusal) in try unit.prefetch(command) }
        let synchronize = Handler.write { unit, command, _ throws(Refusal) in try await unit.synchronize(command) }
        let defects = Handler.answer { unit, command throws(Refusal) in try unit.defects(command) }
        return [
            Operation(0x34, "PRE-FETCH (10)", "02 FFFFFFFF 1F FFFF 00", .none, .read, .needsMedium, by: prefetch),
            Operation(
                0x90, "PRE-FETCH (16)", "02 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00", .none, .read, .needsMedium, by: prefetch),
            // SYNC_NV, too, is taken: there is no non-volatile cache to leave out.
            Operation(
                0x35, "SYNCHRONIZE CACHE (10)", "06 FFFFFFFF 1F FFFF 00", .none, .write, .needsMedium, by: synchronize),
            Operation(
                0x91, "SYNCHRONIZE CACHE (16)", "06 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00", .none, .write, .needsMedium,
                by: synchronize),
            Operation(
                0x37, "READ DEFECT DATA (10)", "00 1F 00000000 FFFF 00", .allocation(at: 7, width: 2), .read,
                .needsMedium, by: defects),
            Operation(
                0xB7, "READ DEFECT DATA (12)", "1F FFFFFFFF FFFFFFFF 00 00", .allocation(at: 6, width: 4), .read,
                .needsMedium, by: defects),
        ]
    }()

    /// SBC-3's blocks without data of their own.
    static let provisioning: [Operation] = {
        let same = Handler.write { unit, command, data throws(Refusal) in try await unit.writeSame(command, data) }
        let blocks = Transfer.blocksFound { LogicalUnit.sameBlocks($0) }
        return [
            Operation(0x41, "WRITE SAME (10)", "18 FFFFFFFF 1F FFFF 00", blocks, .write, .writes, by: same),
            Operation(
                0x93, "WRITE SAME (16)", "19 FFFFFFFFFFFFFFFF FFFFFFFF 1F 00", blocks, .write, .writes, by: same),
            Operation(
                0x42, "UNMAP", "01 00000000 1F FFFF 00", .parameters(at: 7, width: 2), .write,
                [.needsMedium, .changesMedium, .needsProvisioning],
                by: .write { unit, command, data throws(Refusal) in try await unit.unmap(command, data) }),
            Operation(
                0x9E, action: 0x12, "GET LBA STATUS", "12 FFFFFFFFFFFFFFFF FFFFFFFF 00 00",
                .allocation(at: 10, width: 4), .read, .needsMedium,
                by: .ask { unit, command throws(Refusal) in try await unit.blockStatus(command) }),
        ]
    }()
}
