extension LogicalUnit {
    func checkReservation(_ nexus: SCSINexus, _ access: Operation.Access) throws(Refusal) {}
}
