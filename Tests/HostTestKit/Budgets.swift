import Foundation

/// What is counted and may not grow: Tests/Fixtures/budgets.json.
public enum Budgets {
    public static func number(_ name: String) throws -> UInt64 {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let data = try Data(contentsOf: folder.appending(path: "Fixtures/budgets.json"))
        guard let number = try JSONDecoder().decode([String: UInt64].self, from: data)[name] else {
            throw CocoaError(.keyValueValidation)
        }
        return number
    }
}
