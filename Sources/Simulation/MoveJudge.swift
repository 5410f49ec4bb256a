import Block
import BlockTestKit
import Bytes
import Graph
import Image
import Qcow2

/// Holds what a rebase or a commit left, whole or broken off, against what it promises.
struct MoveJudge {
    private let stack: ImageStack
    private let move: MoveExamination.Move

    private let mayLeak: Bool

    init(_ stack: ImageStack, _ move: MoveExamination.Move, mayLeak: Bool = false) {
        (self.stack, self.move, self.mayLeak) = (stack, move, mayLeak)
    }

    func judge(_ state: [String: SparseBytes], isDone: Bool) throws(Violation) {
        for layer in stack.layers + [stack.other] {
            let image = state[layer.name] ?? SparseBytes()
            if !mayChange(layer) {
                guard image == stack.files[layer.name] else { throw Violation("D8: '\(layer.name)' changed", .corrupt) }
            } else if !layer.isRaw {
                let check = MiniCheck(image)
                guard check.errors.isEmpty, !check.isCorrupt else {
                    throw Violation("D4: '\(layer.name)': \(check.errors)", .corrupt)
                }
            }
        }
        let found = try read(stack.top.name, "qcow2", state)
        guard found == stack.top.contents else { throw Violation("the disk reads as something else", .thirdValue) }
        if isDone { try judgeEnd(state) }
    }

    private func mayChange(_ layer: ImageStack.Layer) -> Bool {
        if layer.name == stack.top.name { return true }
        if case .commit(let depth, _) = move { return layer.name == stack.below(by: depth)?.name }
        return false
    }

    private func judgeEnd(_ state: [String: SparseBytes]) throws(Violation) {
        let top = MiniCheck(state[stack.top.name] ?? SparseBytes())
        switch move {
        case .rebase(let name):
            let header: Header
            do {
                let memory = MemoryStorage(state[stack.top.name] ?? SparseBytes())
                header = try SimulatedContext(seed: 1).complete {
                    try await Qcow2Image.open(file: memory, options: Options(isReadOnly: true)).header
                }
            } catch { throw Violation("\(error)", .corrupt) }
            guard header.backingFile == name, header.backingFormat == stack.layer(name)?.format else {
                throw Violation("it stands on \(header.backingFile ?? "nothing")", .lost)
            }
        case .commit(let depth, let keeps):
            guard let base = stack.below(by: depth) else { return }
            var wanted = stack.top.contents
            if base.contents.count > wanted.count { wanted += base.contents[wanted.count...] }
            guard try read(base.name, base.format, state) == wanted else {
                throw Violation("the base reads as something else", .lost)
            }
            guard keeps || depth > 1 || top.mapped.isEmpty && top.zeros.isEmpty && top.compressed.isEmpty else {
                throw Violation("the image is not empty", .swallowed)
            }
        }
        guard mayLeak || top.leaks == 0 else { throw Violation("\(top.leaks) leaks at the end", .corrupt) }
    }

    /// What a fresh start reads through the chain that the images name.
    private func read(_ name: String, _ format: String, _ state: [String: SparseBytes]) throws(Violation) -> [UInt8] {
        let context = SimulatedContext(seed: 1, order: .fifo)
        let files = SimulatedFiles(context, state, SimDisk.Options(latencyNs: 1...1))
        do {
            return try context.complete {
                let tool = ImageTool(
                    files: files, context: context, rule: .any, output: { _ in }, report: { _ in },
                    localTime: { _ in "" })
                let chain = try await tool.open(ImageReference(name, format: format))
                return try await chain.top.bytes(at: 0, count: Int(chain.top.length))
            }
        } catch { throw Violation("D3: '\(name)' does not open or read: \(error)", .corrupt) }
    }
}

extension ImageStack {
    /// The image of that name; nil where there is none.
    func layer(_ name: String?) -> Layer? { (layers + [other]).first { $0.name == name } }

    /// The image so many below the top.
    func below(by depth: Int) -> Layer? { depth < layers.count ? layers[layers.count - 1 - depth] : nil }
}
