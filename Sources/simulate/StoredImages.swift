import ArgumentParser
import Foundation
import Simulation

/// Where the images are that QEMU's tools made.
struct StoredImages: ParsableArguments {
    @Option(help: "The folder of the stored images.") var fixtures = "Tests/Fixtures/start"

    func images() throws -> [StartImage] {
        try StartImage.storedNames.map { name in
            try StartImage.stored(name) { try Array(Data(contentsOf: URL(filePath: "\(fixtures)/\($0)"))) }
        }
    }
}
