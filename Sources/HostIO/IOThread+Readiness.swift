import Block

extension IOThread {
    /// Parks the task until the descriptor is ready, or `cancel` is called with the id that `note` was told.
    func ready(_ descriptor: Int32, for direction: PollDirection, note: (UInt64?) -> Void) async {
        _ = await suspend { (waiter: Suspension<Int32>) in
            let id = operations.add(waiter)
            note(id)
            engine.poll(descriptor, for: direction, id: id)
        }
        note(nil)
    }
}
