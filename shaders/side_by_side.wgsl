// side_by_side: windows of a pooling that lie side by side over their planes (stride S = the window's extent, no padding), those
// included that a plane's end cuts short.
//
// Put before max_pool.wgsl and avg_pool.wgsl. WHOLE = 1: no window is cut short.

const DOWN = (IN_H + S - 1u) / S;
const ACROSS = (IN_W + S - 1u) / S;

struct Beside {
    // Where the window's gradient lies, if it has one: those cut short have none.
    at: u32,
    has_gradient: bool,
    // Its first pixel in its plane, and that row among the rows of all planes.
    y: u32, x: u32, row: u32,
}

// Window i of all planes'.
fn beside(i: u32) -> Beside {
    let wx = i % ACROSS;
    let row = i / ACROSS;
    let wy = row % DOWN;
    // Where all windows are whole, the planes' rows follow each other like those of windows, and what is subtracted is nothing.
    let plane = row / DOWN;
    return Beside((row - plane * (DOWN - OUT_H)) * OUT_W + wx, (WHOLE == 1u) | ((wx < OUT_W) & (wy < OUT_H)),
                  wy * S, wx * S, row * S - plane * (DOWN * S - IN_H));
}

// Whether its pixel (ky, kx) lies in the plane.
fn is_there(window: Beside, ky: u32, kx: u32) -> bool {
    return (WHOLE == 1u) | ((window.y + ky < IN_H) & (window.x + kx < IN_W));
}
