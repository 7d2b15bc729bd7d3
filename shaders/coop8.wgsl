// Put before a kernel that multiplies by cooperative matrices of 8 x 8: f16 in, f32 out. What an adapter has, it says
// itself ('shadegrad info').
enable f16;
enable wgpu_cooperative_matrix;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
const T: u32 = 8u;
