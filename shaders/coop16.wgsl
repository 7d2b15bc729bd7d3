// Put before a kernel that multiplies by cooperative matrices of 16 x 16: f16 in, f32 out. What an adapter has, it says
// itself ('shadegrad info').
enable f16;
enable wgpu_cooperative_matrix;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
const T: u32 = 16u;
