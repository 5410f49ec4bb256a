extension ImageInfo {
    /// Placeholder until JSON lands.
    public var json: String { "" }
    static func json(_ list: [ImageInfo]) -> String { "" }
}
extension ImageCheck {
    public var json: String { "" }
}
