import NBDWire
import Streams

extension StreamOutput {
    /// Answers a request with an error, in the form the client negotiated.
    func fail(_ request: NBDRequest, _ error: NBDError, _ session: NBDSession) async {
        if session.hasStructuredReplies {
            await add(NBDReply.errorChunk(error, cookie: request.cookie, message: ""))
        } else {
            await simple(request, error.rawValue)
        }
    }

    /// A simple reply without payload.
    func simple(_ request: NBDRequest, _ error: UInt32 = 0) async {
        await gather(NBDReply.simpleByteCount) {
            NBDReply.storeSimple(&$0, at: $1, error: error, cookie: request.cookie)
        }
    }
}
