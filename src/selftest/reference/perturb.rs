//! A step of an attack, rounded where the kernel rounds.

fn sign(g: f32) -> f64 {
    if g == 0.0 { 0.0 } else { f64::from(g.signum()) }
}

/// The step in f64, rounded once after the sum as the kernel rounds it (a sum of two f32 is exact in f64 here), and
/// once at each edge of the ball.
pub fn stepped(x: f32, g: f32, length: f32, ball: Option<(f32, f32)>) -> f32 {
    let mut to = (f64::from(x) + f64::from(length) * sign(g)) as f32;
    if let Some((centre, eps)) = ball {
        to = to.max(centre - eps).min(centre + eps);
    }
    to.clamp(0.0, 1.0)
}
