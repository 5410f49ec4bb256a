#if FUZZER
    import Fuzzing
    import Glibc

    /// libFuzzer, which calls the target with one input after the other.
    enum Fuzzer {
        private typealias Callback = @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32

        @_silgen_name("LLVMFuzzerRunDriver")
        private static func drive(
            _ count: UnsafeMutablePointer<Int32>,
            _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>, _ callback: Callback
        ) -> Int32

        // Proof: set once, before the driver starts; it calls back on this thread.
        private nonisolated(unsafe) static var target: FuzzTarget?

        static func run(_ target: FuzzTarget, _ arguments: [String]) -> Never {
            unsafe self.target = target
            var count = Int32(arguments.count + 1)
            // Proof: the copies and the array outlive the driver, which ends with the process.
            var words = unsafe ([CommandLine.arguments[0]] + arguments).map { unsafe strdup($0) } + [nil]
            let code = unsafe words.withUnsafeMutableBufferPointer { buffer in
                var base = buffer.baseAddress!
                return unsafe drive(&count, &base) { bytes, length in
                    // Proof: the driver's input is valid for its length during the call.
                    let input = unsafe [UInt8](UnsafeBufferPointer(start: bytes, count: length))
                    do { try unsafe Fuzzer.target?.run(input) } catch {
                        print("promise broken: \(error)")
                        fflush(nil)
                        abort()
                    }
                    return 0
                }
            }
            exit(code)
        }
    }
#endif
