public import Block
public import Filters
public import Graph

/// All devices of a graph, and the commands on them (qmp-semantics §9.4, §9.5, §10.1, §10.5, §10.6).
///
/// A command that names a device does so by `device` or by `id`, of which exactly one is given; both find a backend by
/// its name and by its guest device's id, which are one name space. Every command happens as a whole or not at all: what
/// it needs is opened first, then all of it changes in one instant, its events in their order, before it returns. What
/// was checked before something was waited for is checked again in that instant.
public final class DeviceSet {
    let context: any IOContext
    let graph: Graph
    let observer: DeviceObserver
    /// In the order of their creation, as `query-block` lists them.
    public internal(set) var devices: [Device] = []

    public init(context: any IOContext, graph: Graph, observer: DeviceObserver = DeviceObserver()) {
        self.context = context
        self.graph = graph
        self.observer = observer
    }

    /// The device whose backend or guest device has this name.
    public func device(_ name: String) -> Device? { devices.first { $0.name == name || $0.guestID == name } }

    /// The device that a command names.
    public func find(device: String?, id: String?) throws(DeviceError) -> Device { try named(device, id).device }

    /// How the device's medium is open, or the next one will be.
    public func rootState(of device: Device) -> RootState {
        rootState(of: device, device.nodeName.flatMap { graph.options(of: $0) })
    }

    /// `block_set_io_throttle`. The members of a group share its limits; without a group the device is one for itself.
    public func setThrottle(device: String? = nil, id: String? = nil, _ limits: ThrottleLimits, group: String? = nil)
        throws(DeviceError)
    {
        let (device, name) = try named(device, id)
        guard device.hasMedium else { throw DeviceError("Device has no medium", cause: .noMedium) }
        do { try limits.check() } catch { throw DeviceError(error) }
        let old = device.throttle
        guard limits.isEnabled else {
            device.throttle = nil
            old?.release(device)
            return
        }
        let groupName = group ?? old?.name ?? name
        if old?.name != groupName {
            device.throttle = graph.throttleGroups.makeGroup(groupName)
            old?.release(device)
        }
        device.throttle?.setLimits(limits)
    }

    /// `block-latency-histogram-set`: begins to count how long a device's reads, writes and flushes take; without any
    /// boundaries it ends that. Those that are not named stay as they are.
    public func setLatencies(id: String, read: [UInt64]?, write: [UInt64]?, flush: [UInt64]?) throws(DeviceError) {
        let (device, _) = try named(nil, id)
        func histogram(_ kind: String, _ boundaries: [UInt64]?) throws(DeviceError) -> LatencyHistogram? {
            guard let boundaries else { return nil }
            guard let histogram = LatencyHistogram(boundaries: boundaries) else {
                throw DeviceError("Device '\(id)' set \(kind) boundaries fail")
            }
            return histogram
        }
        let wanted = (
            read: try histogram("read", read), write: try histogram("write", write),
            flush: try histogram("flush", flush)
        )
        let isEnd = read == nil && write == nil && flush == nil
        if isEnd || read != nil { device.statistics.read.latencies = wanted.read }
        if isEnd || write != nil { device.statistics.write.latencies = wanted.write }
        if isEnd || flush != nil { device.statistics.flush.latencies = wanted.flush }
    }

    /// Whether a device keeps to the limits of this group.
    public func usesThrottleGroup(_ name: String) -> Bool { devices.contains { $0.throttle?.name == name } }

    // MARK: For the commands

    /// The device that a command names, and the name that it used, which its errors repeat.
    func named(_ device: String?, _ id: String?) throws(DeviceError) -> (device: Device, name: String) {
        guard (device == nil) != (id == nil), let name = device ?? id else {
            throw DeviceError("Need exactly one of 'device' and 'id'")
        }
        guard let found = self.device(name) else { throw .notFound(name) }
        return (found, name)
    }

    /// Carries out a change of a device, unless that goes while its turn is waited for.
    func change(
        _ device: Device, _ name: String, _ plan: (BackendPlan) async throws(OpenError) -> Void
    ) async throws(DeviceError) {
        do throws(OpenError) {
            try await graph.changeBackends { (change: BackendPlan) async throws(OpenError) in
                guard self.has(device) else { throw OpenError("") }
                try await plan(change)
            }
        } catch {
            throw has(device) ? DeviceError(error) : .notFound(name)
        }
    }

    func has(_ device: Device) -> Bool { devices.contains { $0 === device } }

    /// `options` are those of the medium that is in.
    func rootState(of device: Device, _ options: CommonOptions?) -> RootState {
        guard let options else { return device.rememberedState }
        var state = RootState(options)
        // A drive that only reads goes on to do so, whatever is put in.
        if device.hasTray, device.rememberedState.isReadOnly { state.isReadOnly = true }
        return state
    }

    func rootState(of device: Device, in plan: BackendPlan) -> RootState {
        rootState(of: device, plan.medium(of: device.name).flatMap { plan.options(of: $0) })
    }

    /// Plans that a node is the device's medium. Whoever follows nothing but the tray reads only what is read-only.
    func insert(_ node: String, into device: Device, _ state: RootState, _ plan: BackendPlan) throws(OpenError)
        -> BlockRoot
    {
        try plan.insert(
            node, into: device.name, mayWrite: !device.hasTray || !state.isReadOnly, shared: device.shared)
    }
}
