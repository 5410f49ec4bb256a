import Foundation
import Image

/// One command of the image tool, carried out on an I/O thread of its own.
struct ImgRun: Sendable {
    let arguments: ImgArguments
    let asQEMU: Bool
}
