import Bytes

extension LogicalUnit {
    /// Carries out one command that has entered the task set.
    func run(_ command: SCSICommand, dataOut: RawSpan, dataIn: inout MutableRawSpan) async -> SCSIOutcome {
        do throws(Refusal) {
            let operation = try admit(command)
            let plan = try operation.plan(command, blockShift: blockShift)
            var data = dataOut.extracting(0..<0)
            if case .fromInitiator(let count) = plan {
                data = dataOut.extracting(0..<min(count, dataOut.byteCount))
                if data.byteCount < count {
                    guard operation.traits.contains(.takesPart) else { return short(of: count) }
                    data = data.extracting(0..<(data.byteCount >> blockShift) << blockShift)
                }
            }
            switch operation.handler {
            case .answer(let handler): return .answer(try handler(self, command), plan, &dataIn)
            case .ask(let handler): return .answer(try await handler(self, command), plan, &dataIn)
            case .change(let handler):
                try handler(self, command, data)
                return SCSIOutcome(wanted: UInt64(data.byteCount))
            case .write(let handler):
                try await handler(self, command, data)
                return SCSIOutcome(wanted: plan.dataOutCount)
            case .read(let handler):
                // Another unit, of other blocks, may have taken the number since room was made.
                guard dataIn.byteCount >= plan.dataInLimit else { throw .check(.reportedUnitsChanged) }
                var room = dataIn._mutatingExtracting(0..<plan.dataInLimit)
                let count = try await handler(self, command, &room)
                return SCSIOutcome(dataInCount: count, wanted: UInt64(count))
            }
        } catch {
            return outcome(of: error)
        }
    }

    /// Less came than the command needs: it is not carried out at all.
    private func short(of count: Int) -> SCSIOutcome {
        var outcome = outcome(of: .check(.invalidFieldInInformationUnit))
        outcome.wanted = UInt64(count)
        return outcome
    }
}

extension SCSIDataPlan {
    var dataInLimit: Int {
        if case .toInitiator(let count) = self { return count }
        return 0
    }

    var dataOutCount: UInt64 {
        if case .fromInitiator(let count) = self { return UInt64(count) }
        return 0
    }
}

extension SCSIOutcome {
    /// GOOD, with as much of `bytes` as was asked for.
    static func answer(_ bytes: [UInt8], _ plan: SCSIDataPlan, _ dataIn: inout MutableRawSpan) -> SCSIOutcome {
        // Another unit may have taken the number since room was made.
        let count = min(bytes.count, plan.dataInLimit, dataIn.byteCount)
        dataIn.copy(bytes.byteSpan.extracting(0..<count))
        return SCSIOutcome(dataInCount: count, wanted: UInt64(count))
    }
}
