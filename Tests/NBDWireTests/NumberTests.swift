import Bytes
import NBDWire
import Testing

/// The numbers are those of the protocol's specification, written down here a second time.
@Suite("NBD numbers")
struct NumberTests {
    @Test("the greeting is NBDMAGIC, IHAVEOPT and the flags FIXED_NEWSTYLE and NO_ZEROES")
    func greeting() {
        #expect(NBDNegotiation.greeting == Array("NBDMAGIC".utf8) + Array("IHAVEOPT".utf8) + [0, 3])
    }

    @Test("the magic numbers are those of the specification")
    func magic() {
        #expect(NBDMagic.greeting == 0x4e42_444d_4147_4943)
        #expect(NBDMagic.option == 0x4948_4156_454F_5054)
        #expect(NBDMagic.optionReply == 0x3e8_8904_5565a9)
        #expect(NBDMagic.request == 0x2560_9513)
        #expect(NBDMagic.simpleReply == 0x6744_6698)
        #expect(NBDMagic.structuredReply == 0x668e_33ef)
    }

    @Test("options and their replies have the specification's numbers")
    func options() {
        let options: [NBDOption] = [
            .exportName, .abort, .list, .startTLS, .info, .go, .structuredReply, .listMetaContext, .setMetaContext,
        ]
        #expect(options.map(\.rawValue) == [1, 2, 3, 5, 6, 7, 8, 9, 10])
        let replies = [
            NBDOptionReply.ack, NBDOptionReply.server, NBDOptionReply.info, NBDOptionReply.metaContext,
            NBDOptionReply.unsupported, NBDOptionReply.policy, NBDOptionReply.invalid, NBDOptionReply.unknown,
            NBDOptionReply.tooBig,
        ]
        #expect(
            replies == [
                1, 2, 3, 4, 0x8000_0001, 0x8000_0002, 0x8000_0003, 0x8000_0006, 0x8000_0009,
            ])
        #expect([NBDInfo.export, NBDInfo.name, NBDInfo.description, NBDInfo.blockSize] == [0, 1, 2, 3])
    }

    @Test("transmission flags have the specification's bits")
    func transmissionFlags() {
        let flags: [NBDTransmissionFlags] = [
            .hasFlags, .readOnly, .sendFlush, .sendFUA, .rotational, .sendTrim, .sendWriteZeroes, .sendDF,
            .canMultiConn, .sendCache, .sendFastZero,
        ]
        #expect(flags.map(\.rawValue) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 2048])
    }

    @Test("commands and their flags have the specification's numbers")
    func commands() {
        let commands: [NBDCommand] = [
            .read, .write, .disconnect, .flush, .trim, .cache, .writeZeroes, .blockStatus,
        ]
        #expect(commands.map(\.rawValue) == Array(0...7))
        let flags: [NBDCommandFlags] = [.fua, .noHole, .dontFragment, .reqOne, .fastZero]
        #expect(flags.map(\.rawValue) == [1, 2, 4, 8, 16])
    }

    @Test("chunks have the specification's types")
    func chunks() {
        let types = [
            NBDChunk.none, NBDChunk.offsetData, NBDChunk.offsetHole, NBDChunk.blockStatus, NBDChunk.error,
            NBDChunk.errorOffset,
        ]
        #expect(types == [0, 1, 2, 5, 0x8001, 0x8002])
        #expect(NBDChunk.done == 1)
    }

    @Test("errors have the specification's numbers")
    func errors() {
        let errors: [NBDError] = [
            .permission, .io, .noMemory, .invalid, .noSpace, .overflow, .unsupported, .shutdown,
        ]
        #expect(errors.map(\.rawValue) == [1, 5, 12, 22, 28, 75, 95, 108])
    }
}
