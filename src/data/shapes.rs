//! The `shapes` data set: drawn objects in ten classes, made on the spot from a seed.
//!
//! A picture is a pure function of `(seed, index)`, in whole numbers only, so that it has the same
//! bytes on every machine. It shows one object of its class, with everything else drawn by chance:
//! place, size, tilt, squash, colours, texture, light, shadow, a cluttered ground behind it, at
//! times a line across it, focus and sensor noise. Nothing but the outline depends on the class.
//!
//! The ranges below were set so that a LeNet-5 trained on 20,000 pictures for eight epochs gets
//! about 85% of unseen ones right. Units are those of `shapes_draw`.

use super::shapes_draw::{
    Colour, FULL, Figure, ONE, PIXEL, Pattern, Pose, Texture, coverage, direction, hue_colour, mix, shaded,
};
use crate::random::{Purpose, Stream};

/// The classes' names; a label is a place in this list.
pub const CLASSES: [&str; 10] =
    ["disc", "ring", "crescent", "heart", "triangle", "square", "star", "cross", "arrow", "gear"];

/// Pixels to a side.
const SIDE: i32 = 32;
const PIXELS: usize = (SIDE * SIDE) as usize;
/// The picture's middle, both ways.
const MIDDLE: i32 = SIDE * PIXEL / 2;

/// The object's radius, in picture lengths, least and greatest.
const RADIUS: (i32, i32) = (8 * PIXEL, 13 * PIXEL);
/// How far the object's centre may lie from the picture's, each way, in picture lengths.
const PLACE: i32 = 4 * PIXEL;
/// How far the object may be turned from upright, either way, in 1/65536 turn.
const TILT: i32 = 65_536 / 11;
/// The least squash: the object is at times this much narrower one way.
const SQUASH: i32 = ONE * 5 / 6;
/// The object's and the ground's colours differ by at least this, summed over the channels.
const CONTRAST: i32 = 170;
/// How far a surface's second colour may lie from its first: the ground's, the object's.
const VARIETY: (i32, i32) = (60, 80);
/// Pieces of clutter behind the object, fewest and most.
const CLUTTER: (i32, i32) = (1, 4);
/// A line crosses the object in one picture of this many.
const CROSSED: u32 = 4;
/// The sensor's noise: the standard deviation in 1/16 of a brightness step, least and greatest.
const NOISE: (i32, i32) = (32, 160);

/// Draws picture `index` of the set of this seed into `out` and returns its label.
///
/// `out` is planar, as in CIFAR-10: the red plane, then green, then blue, each 32 rows of 32 bytes.
/// Labels go round in turn, `index % 10`, so that every run of ten pictures has each class once;
/// readers shuffle. A test set is other indices, or another seed.
pub fn picture(seed: u64, index: u32, out: &mut [u8; 3072]) -> u8 {
    let label = (index % 10) as u8;
    let mut scene = Scene::new(Stream::new(seed, Purpose::Shapes, index));
    scene.lay_clutter();
    scene.place_object(Figure::CLASSES[usize::from(label)]);
    scene.expose(out);
    label
}

/// A picture in the making.
struct Scene {
    stream: Stream,
    pixels: [Colour; PIXELS],
    /// The ground's middle colour, from which the object's must differ.
    ground: Colour,
    /// Where the light comes from, as a unit vector on the picture.
    light: (i32, i32),
    /// The width of an outline, in picture lengths: how far out of focus the picture is.
    softness: i32,
}

/// Two colours and how they are laid out.
struct Surface {
    colours: [Colour; 2],
    texture: Texture,
}

impl Surface {
    fn colour_at(&self, x: i32, y: i32) -> Colour {
        mix(self.colours[0], self.colours[1], self.texture.share(x, y))
    }
}

/// Every pixel of a part of the picture, as its number and its middle in picture lengths.
fn pixel_middles(columns: std::ops::Range<i32>, rows: std::ops::Range<i32>) -> impl Iterator<Item = (usize, i32, i32)> {
    rows.flat_map(move |row| {
        columns.clone().map(move |column| {
            let pixel = row * SIDE + column;
            (pixel as usize, column * PIXEL + PIXEL / 2, row * PIXEL + PIXEL / 2)
        })
    })
}

impl Scene {
    /// A picture of nothing but the ground: two colours and a pattern, darker away from the light.
    fn new(mut stream: Stream) -> Self {
        let light = any_direction(&mut stream);
        let softness = stream.between(PIXEL, PIXEL * 2);
        let colour = any_colour(&mut stream);
        let ground = Surface {
            colours: [colour, variant(&mut stream, colour, VARIETY.0)],
            texture: any_texture(&mut stream, (4 * PIXEL, 12 * PIXEL)),
        };
        let falloff = stream.between(0, 70);
        let frame = Pose::new((MIDDLE, MIDDLE), MIDDLE, (ONE, 0), ONE);
        let mut pixels = [[0; 3]; PIXELS];
        for (pixel, x, y) in pixel_middles(0..SIDE, 0..SIDE) {
            let towards = frame.towards(light, x, y);
            pixels[pixel] = shaded(ground.colour_at(x, y), (towards * falloff) >> 12);
        }
        Self { stream, pixels, ground: mix(ground.colours[0], ground.colours[1], FULL / 2), light, softness }
    }

    /// Puts lines, blobs and pieces of other objects on the ground.
    fn lay_clutter(&mut self) {
        for _ in 0..self.stream.between(CLUTTER.0, CLUTTER.1) {
            let stream = &mut self.stream;
            let figure = match stream.below(3) {
                0 => Figure::Bar,
                1 => Figure::Disc,
                _ => Figure::CLASSES[stream.below(10) as usize],
            };
            let (least, most) = if figure == Figure::Bar { (6, 20) } else { (2, 4) };
            let radius = stream.between(least * PIXEL, most * PIXEL);
            let centre = any_place(stream, MIDDLE);
            let squash = stream.between(ONE / 2, ONE);
            let pose = Pose::new(centre, radius, any_direction(stream), squash);
            let colour = variant(stream, self.ground, 130);
            let opacity = stream.between(100, FULL);
            self.paint(figure, &pose, colour, opacity, self.softness);
        }
    }

    /// Puts the object on the picture, with its shadow.
    fn place_object(&mut self, figure: Figure) {
        let stream = &mut self.stream;
        let radius = stream.between(RADIUS.0, RADIUS.1);
        let centre = any_place(stream, PLACE.min(MIDDLE - radius));
        let tilt = stream.between(-TILT, TILT) as u16;
        let squash = stream.between(SQUASH, ONE);
        let pose = Pose::new(centre, radius, direction(tilt.wrapping_sub(0x4000)), squash);
        let colour = contrasting_colour(stream, self.ground);
        let surface = Surface {
            colours: [colour, variant(stream, colour, VARIETY.1)],
            texture: any_texture(stream, (3 * PIXEL, 8 * PIXEL)),
        };
        self.cast_shadow(figure, pose);
        self.paint_object(figure, &pose, &surface);
        if self.stream.below(CROSSED) == 0 {
            let stream = &mut self.stream;
            let radius = stream.between(14 * PIXEL, 24 * PIXEL);
            let centre = any_place(stream, 6 * PIXEL);
            let line = Pose::new(centre, radius, any_direction(stream), ONE);
            let colour = any_colour(stream);
            self.paint(Figure::Bar, &line, colour, 220, self.softness);
        }
    }

    /// Paints a figure flat, in one colour.
    fn paint(&mut self, figure: Figure, pose: &Pose, colour: Colour, opacity: i32, softness: i32) {
        let (columns, rows) = pose.bounds(softness, SIDE);
        for (pixel, x, y) in pixel_middles(columns, rows) {
            let share = coverage(pose.distance(figure, x, y), softness) * opacity / FULL;
            self.pixels[pixel] = mix(self.pixels[pixel], colour, share);
        }
    }

    /// Darkens the ground on the far side of the figure from the light.
    fn cast_shadow(&mut self, figure: Figure, pose: Pose) {
        let throw = self.stream.between(PIXEL, 3 * PIXEL);
        let opacity = self.stream.between(0, 150);
        let blur = self.softness + throw;
        let away = (-(self.light.0 * throw) >> 12, -(self.light.1 * throw) >> 12);
        let pose = pose.moved(away.0, away.1);
        self.paint(figure, &pose, [0; 3], opacity, blur);
    }

    /// Paints the object: its surface, lighter towards the light, with a rounded rim.
    fn paint_object(&mut self, figure: Figure, pose: &Pose, surface: &Surface) {
        const STEP: i32 = PIXEL / 2;
        let step = ((self.light.0 * STEP) >> 12, (self.light.1 * STEP) >> 12);
        let slope = self.stream.between(0, 80);
        let gloss = self.stream.between(0, 110);
        let rim = self.stream.between(3 * PIXEL / 2, 4 * PIXEL);
        let (columns, rows) = pose.bounds(self.softness, SIDE);
        for (pixel, x, y) in pixel_middles(columns, rows) {
            let distance = pose.distance(figure, x, y);
            let share = coverage(distance, self.softness);
            if share == 0 {
                continue;
            }
            let towards = pose.towards(self.light, x, y);
            // Near its outline the surface slopes the way the distance grows: it faces the light
            // as far as a small step towards the light is a step outwards.
            let facing = if distance > -rim {
                let outwards = pose.distance(figure, x + step.0, y + step.1) - distance;
                let near_rim = FULL + distance.min(0) * FULL / rim;
                outwards * near_rim * (ONE / FULL) / STEP
            } else {
                0
            };
            let shade = (towards * slope + facing * gloss) >> 12;
            let colour = shaded(surface.colour_at(x, y), shade);
            self.pixels[pixel] = mix(self.pixels[pixel], colour, share);
        }
    }

    /// Adds the sensor's noise and writes the bytes.
    fn expose(&mut self, out: &mut [u8; 3072]) {
        let noise = self.stream.between(NOISE.0, NOISE.1);
        for pixel in 0..PIXELS {
            let word = self.stream.next_word();
            for channel in 0..3 {
                // The set ones of ten fair bits make a bell curve about 5; its standard deviation
                // is sqrt(10) / 2, whence 81/128.
                let bits = (word >> (10 * channel)) & 0x3FF;
                let bell = bits.count_ones() as i32 - 5;
                let value = self.pixels[pixel][channel] + bell * noise * 81 / (128 * 16);
                out[channel * PIXELS + pixel] = value.clamp(0, 255) as u8;
            }
        }
    }
}

/// Any direction, as a unit vector.
fn any_direction(stream: &mut Stream) -> (i32, i32) {
    direction(stream.next_word() as u16)
}

/// A place anywhere within `spread` of the middle, in picture lengths.
fn any_place(stream: &mut Stream, spread: i32) -> (i32, i32) {
    (MIDDLE + stream.between(-spread, spread), MIDDLE + stream.between(-spread, spread))
}

/// Any colour but the darkest, the palest and the most garish.
fn any_colour(stream: &mut Stream) -> Colour {
    let hue = stream.between(0, 1535);
    let saturation = stream.between(30, 210);
    let value = stream.between(70, 245);
    hue_colour(hue, saturation, value)
}

/// A colour whose channels are each within `spread` of another's.
fn variant(stream: &mut Stream, colour: Colour, spread: i32) -> Colour {
    // Mostly lighter or darker, as shading is, and a little towards another hue.
    let lighter = stream.between(-spread, spread);
    colour.map(|channel| {
        let tint = stream.between(-spread / 4, spread / 4);
        (channel + lighter * 3 / 4 + tint).clamp(20, 240)
    })
}

/// A colour at least [`CONTRAST`] from the other, or the farthest of a dozen.
fn contrasting_colour(stream: &mut Stream, other: Colour) -> Colour {
    let mut best = (0, other);
    for _ in 0..12 {
        let colour = any_colour(stream);
        let apart = (0..3).map(|channel| (colour[channel] - other[channel]).abs()).sum();
        if apart > best.0 {
            best = (apart, colour);
        }
        if apart >= CONTRAST {
            break;
        }
    }
    best.1
}

/// Any pattern with a pitch between two lengths.
fn any_texture(stream: &mut Stream, pitch: (i32, i32)) -> Texture {
    let pattern = match stream.below(6) {
        0 | 1 => Pattern::Plain,
        2 => Pattern::Stripes,
        3 => Pattern::Checks,
        4 => Pattern::Dots,
        _ => Pattern::Clouds,
    };
    let pitch = stream.between(pitch.0, pitch.1);
    Texture {
        pattern,
        pitch,
        axis: any_direction(stream),
        origin: (stream.between(0, pitch), stream.between(0, pitch)),
        lattice: std::array::from_fn(|_| stream.next_word() as u8),
    }
}
