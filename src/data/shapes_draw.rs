//! Fixed-point drawing for the `shapes` pictures: figures, poses, textures and colours.
//!
//! Everything here is whole numbers, so that every machine draws the same bytes. The units:
//!
//! * lengths on the picture: 1/256 pixel ([`PIXEL`]), the picture's corner at (0, 0), y downwards;
//! * lengths on a figure: 1/4096 of its radius ([`ONE`]), its centre at (0, 0);
//! * sines, cosines and unit vectors: 1/4096 ([`ONE`]);
//! * angles: `u16`, 65,536 to the turn, so that they wrap as angles do;
//! * shares (coverage, opacity, mixing weights): 0 to 256 ([`FULL`]).
//!
//! A figure is its distance field: negative inside, zero on the outline, positive outside. Straight
//! edges count as endless lines, which is exact near the outline, where the distance makes coverage
//! and rims, and too short only outside a corner.

use std::ops::Range;

/// One pixel, in picture lengths.
pub const PIXEL: i32 = 256;
/// One radius, in figure lengths; also the sine of a right angle.
pub const ONE: i32 = 4096;
/// The whole of a share.
pub const FULL: i32 = 256;

/// Red, green and blue, 0 to 255 each (and beyond, until the picture is exposed).
pub type Colour = [i32; 3];

/// The sine of an angle: the odd polynomial of degree five that is exact at 0 and at a right angle,
/// with slope 0 there; off by less than 1/4000.
const fn sine(angle: u16) -> i32 {
    let rising = (angle & 0x3FFF) as i32;
    let z = if angle & 0x4000 == 0 { rising } else { 0x4000 - rising };
    let square = (z * z) >> 14;
    // pi/2, pi - 5/2 and (pi - 3)/2, in units of 1/4096.
    let size = (z * (6434 - (((2628 - ((290 * square) >> 14)) * square) >> 14))) >> 14;
    if angle & 0x8000 == 0 { size } else { -size }
}

/// The unit vector at an angle from the x axis.
pub const fn direction(angle: u16) -> (i32, i32) {
    (sine(angle.wrapping_add(0x4000)), sine(angle))
}

/// `COUNT` unit vectors, evenly spread over the turn.
const fn spokes<const COUNT: usize>() -> [(i32, i32); COUNT] {
    let mut spokes = [(0, 0); COUNT];
    let mut spoke = 0;
    while spoke < COUNT {
        spokes[spoke] = direction((spoke * 65_536 / COUNT) as u16);
        spoke += 1;
    }
    spokes
}

const TRIANGLE_FACES: [(i32, i32); 3] = spokes();
const STAR_TIPS: [(i32, i32); 5] = spokes();
const GEAR_TEETH: [(i32, i32); 8] = spokes();

/// The point seen from its nearest spoke: how far along it, and how far off it to either side.
fn along_nearest(spokes: &[(i32, i32)], x: i32, y: i32) -> (i32, i32) {
    let mut nearest = (i32::MIN, 0);
    for &(cos, sin) in spokes {
        let along = (x * cos + y * sin) >> 12;
        if along > nearest.0 {
            nearest = (along, ((y * cos - x * sin) >> 12).abs());
        }
    }
    nearest
}

/// The length of a vector of figure or picture lengths.
fn length(x: i32, y: i32) -> i32 {
    (x * x + y * y).isqrt()
}

/// What can be drawn. The first ten are the classes, in the order of `shapes::CLASSES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Disc,
    Ring,
    Crescent,
    Heart,
    Triangle,
    Square,
    Star,
    Cross,
    Arrow,
    Gear,
    /// A thin line, for clutter.
    Bar,
}

impl Figure {
    /// The figures of the ten classes, in label order.
    pub const CLASSES: [Figure; 10] = [
        Figure::Disc,
        Figure::Ring,
        Figure::Crescent,
        Figure::Heart,
        Figure::Triangle,
        Figure::Square,
        Figure::Star,
        Figure::Cross,
        Figure::Arrow,
        Figure::Gear,
    ];

    /// Every figure lies within this distance of its centre.
    const REACH: i32 = ONE * 6 / 5;

    /// The distance of a point from the figure's outline, negative inside, in figure lengths.
    pub fn distance(self, x: i32, y: i32) -> i32 {
        let far = x.abs().max(y.abs());
        // A cheap underestimate serves far away, and keeps the squares below within 32 bits.
        if far > 2 * ONE {
            return far - Self::REACH;
        }
        match self {
            Figure::Disc => length(x, y) - 3600,
            Figure::Ring => (length(x, y) - 3050).abs() - 850,
            Figure::Crescent => (length(x, y) - 3950).max(3350 - length(x, y - 1900)),
            Figure::Heart => heart(y.abs(), x + 3600),
            Figure::Triangle => along_nearest(&TRIANGLE_FACES, -x, y).0 - 2350,
            Figure::Square => far - 3200,
            Figure::Star => {
                let (along, across) = along_nearest(&STAR_TIPS, x, y);
                // The edge from the tip at 4500 to the notch at 2025, 36 degrees further.
                ((along - 4500) * 1573 + across * 3782) >> 12
            }
            Figure::Cross => (far - 3900).max(x.abs().min(y.abs()) - 1250),
            Figure::Arrow => arrow(x, y.abs()),
            Figure::Gear => {
                // The quarters are alike, so that the teeth of the first one serve for all.
                let (along, across) = along_nearest(&GEAR_TEETH[..3], x.abs(), y.abs());
                let centre = length(x, y);
                (centre - 2900).min((along - 3950).max(across - 720)).max(1150 - centre)
            }
            Figure::Bar => (x.abs() - 3900).max(y.abs() - 250),
        }
    }
}

/// One half of an arrow that points along x: a shaft and a head.
fn arrow(x: i32, y: i32) -> i32 {
    let shaft = (y - 1000).max(x - 400).max(-3900 - x);
    // The head's edge runs from the tip at (4300, 0) to the barb at (300, 2900).
    let head = (300 - x).max(((x - 4300) * 2404 + y * 3316) >> 12);
    shaft.min(head)
}

/// One half of a heart that stands with its tip on (0, 0): a quarter square and a half disc.
fn heart(x: i32, y: i32) -> i32 {
    const SIDE: i32 = 6800;
    const LOBE: i32 = 2404;
    if x + y > SIDE {
        return length(x - SIDE / 4, y - SIDE * 3 / 4) - LOBE;
    }
    let foot = (x + y).max(0) / 2;
    let distance = length(x, y - SIDE).min(length(x - foot, y - foot));
    if x < y { -distance } else { distance }
}

/// A figure's place on the picture.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    centre: (i32, i32),
    radius: i32,
    /// The direction of the figure's own x axis.
    axis: (i32, i32),
    /// Figure lengths to one picture length, along that axis and across it, times 2^16.
    scale: (i64, i64),
}

impl Pose {
    /// A figure of this centre and radius (at least one pixel), in picture lengths, whose x axis
    /// points along the unit vector `axis` and which is `squash / ONE` times as wide across it.
    pub fn new(centre: (i32, i32), radius: i32, axis: (i32, i32), squash: i32) -> Self {
        let along = (i64::from(ONE) << 16) / i64::from(radius);
        Self { centre, radius, axis, scale: (along, along * i64::from(ONE) / i64::from(squash)) }
    }

    /// The same, moved by a picture length each way.
    pub fn moved(self, right: i32, down: i32) -> Self {
        Self { centre: (self.centre.0 + right, self.centre.1 + down), ..self }
    }

    /// How far a point of the picture lies from the centre in a direction, in figure lengths.
    pub fn towards(&self, direction: (i32, i32), x: i32, y: i32) -> i32 {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        scaled(dx * direction.0 + dy * direction.1, self.scale.0)
    }

    /// The distance of a point of the picture from the outline of the figure, in picture lengths.
    ///
    /// Across a squashed figure distances count as before the squashing, a little too long; edges
    /// there come out a little crisper.
    pub fn distance(&self, figure: Figure, x: i32, y: i32) -> i32 {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (cos, sin) = self.axis;
        let along = scaled(dx * cos + dy * sin, self.scale.0);
        let across = scaled(dy * cos - dx * sin, self.scale.1);
        (figure.distance(along, across) * self.radius) >> 12
    }

    /// The columns and rows that anything within `margin` of the figure can touch, on a picture of
    /// `side` pixels.
    pub fn bounds(&self, margin: i32, side: i32) -> (Range<i32>, Range<i32>) {
        let reach = ((Figure::REACH * self.radius) >> 12) + margin;
        let span = |centre: i32| {
            let first = (centre - reach).div_euclid(PIXEL).clamp(0, side);
            first..((centre + reach).div_euclid(PIXEL) + 1).clamp(first, side)
        };
        (span(self.centre.0), span(self.centre.1))
    }
}

/// A picture length times [`ONE`] as a figure length; `scale` is as in [`Pose`].
fn scaled(length: i32, scale: i64) -> i32 {
    ((i64::from(length) * scale) >> 28) as i32
}

/// The share of a pixel that lies inside an outline at this distance from its centre, where the
/// outline is `softness` wide (one pixel: crisp; more: out of focus).
pub fn coverage(distance: i32, softness: i32) -> i32 {
    let inside = softness / 2 - distance;
    // Most pixels lie clear of the outline; they skip the division.
    if inside <= 0 {
        0
    } else if inside >= softness {
        FULL
    } else {
        inside * FULL / softness
    }
}

/// `from` where the share is 0, `to` where it is [`FULL`].
pub fn mix(from: Colour, to: Colour, share: i32) -> Colour {
    std::array::from_fn(|channel| from[channel] + (((to[channel] - from[channel]) * share) >> 8))
}

/// The colour times `1 + shade / FULL`: lighter above 0, darker below.
pub fn shaded(colour: Colour, shade: i32) -> Colour {
    colour.map(|channel| (channel * (FULL + shade)) >> 8)
}

/// The colour of a hue (0 to 1535, red at 0), with its saturation and value from 0 to 255.
pub fn hue_colour(hue: i32, saturation: i32, value: i32) -> Colour {
    // Each channel is full for a third of the wheel and ramps over a sixth on either side.
    [0, 1024, 512].map(|turn| {
        let place = (hue + turn).rem_euclid(1536);
        let pure = ((place - 768).abs() - 256).clamp(0, 255);
        value * (255 - saturation * (255 - pure) / 255) / 255
    })
}

/// How a surface's two colours are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Plain,
    Stripes,
    Checks,
    Dots,
    Clouds,
}

/// A pattern, laid on the picture.
#[derive(Clone, Debug)]
pub struct Texture {
    pub pattern: Pattern,
    /// The pattern repeats after this length (clouds: one cell is this wide); at least two pixels.
    pub pitch: i32,
    /// The direction across the stripes, as a unit vector.
    pub axis: (i32, i32),
    /// Where the pattern begins, in picture lengths.
    pub origin: (i32, i32),
    /// The shares at the corners of the cells of clouds, eight to the row.
    pub lattice: [u8; 64],
}

impl Texture {
    /// The second colour's share at a point of the picture.
    pub fn share(&self, x: i32, y: i32) -> i32 {
        let (cos, sin) = self.axis;
        let along = ((x * cos + y * sin) >> 12) + self.origin.0;
        let across = ((y * cos - x * sin) >> 12) + self.origin.1;
        match self.pattern {
            Pattern::Plain => 0,
            Pattern::Stripes => self.stripe(along),
            Pattern::Checks => {
                let (one, other) = (self.stripe(along), self.stripe(across));
                one + other - one * other * 2 / FULL
            }
            Pattern::Dots => {
                let offset = |place: i32| place.rem_euclid(self.pitch) - self.pitch / 2;
                coverage(length(offset(along), offset(across)) - self.pitch * 5 / 16, PIXEL)
            }
            Pattern::Clouds => self.cloud(along, across),
        }
    }

    /// Half of each period is striped.
    fn stripe(&self, place: i32) -> i32 {
        let from_middle = (place.rem_euclid(self.pitch) - self.pitch / 2).abs();
        coverage(from_middle - self.pitch / 4, PIXEL)
    }

    /// Smooth noise: the lattice's shares, eased from corner to corner.
    fn cloud(&self, along: i32, across: i32) -> i32 {
        let corner = |column: i32, row: i32| {
            let place = (row & 7) * 8 + (column & 7);
            i32::from(self.lattice[place as usize])
        };
        let eased = |place: i32| {
            let part = place.rem_euclid(self.pitch) * FULL / self.pitch;
            (part * part * (3 * FULL - 2 * part)) >> 16
        };
        let (column, row) = (along.div_euclid(self.pitch), across.div_euclid(self.pitch));
        let (right, down) = (eased(along), eased(across));
        let row_share = |row: i32| {
            let (left, far) = (corner(column, row), corner(column + 1, row));
            left + (((far - left) * right) >> 8)
        };
        let (top, bottom) = (row_share(row), row_share(row + 1));
        top + (((bottom - top) * down) >> 8)
    }
}
