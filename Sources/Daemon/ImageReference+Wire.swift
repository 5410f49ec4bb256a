package import Block
import Graph
package import Image
import JSON
import QMPTypes

extension ImageReference {
    /// Reads a file name: a plain one, `file:…`, `json:{…}`, `blkdebug:RULES:NAME`, `nbd://…` and its like. With `isOptions`
    /// (`--image-opts`) it is a node's options, `driver=qcow2,file.filename=…`.
    package init(
        reading text: String, isOptions: Bool, format: String? = nil, forceShare: Bool = false,
        cache: CacheMode = .writeback
    ) throws(OpenError) {
        let place: Place
        do throws(QMPError) { place = try Self.place(text, isOptions: isOptions, format) } catch {
            throw OpenError(error.message)
        }
        self.init(place, text: text, format: format, forceShare: forceShare, cache: cache)
    }

    private static func place(_ text: String, isOptions: Bool, _ format: String?) throws(QMPError) -> Place {
        let words: ImageWords
        if isOptions {
            guard text.contains("=") else {
                throw QMPError("Cannot find device='\(text)' nor node-name='\(text)'")
            }
            words = try ImageWords(nil, KeyValue.parse(text).value)
        } else {
            // A file is known as such, whatever is said to be in it.
            let driver = format.flatMap {
                ImageWords.protocols.contains($0) && $0 != "file" && $0 != "host_device" ? $0 : nil
            }
            words = try ImageWords(text, driver: driver)
        }
        if words.driver != nil { return .node(try words.node()) }
        if !isOptions, let path = words.plainPath { return .file(path) }
        if let other = words.saysOfNode {
            guard format != nil else {
                guard words.options["file"] != nil else { throw QMPError("Must specify either driver or file") }
                throw QMPError("Must specify driver together with '\(other)'")
            }
            var whole = words
            whole.driver = format
            return .node(try whole.node())
        }
        return .storage(try words.storage())
    }
}
