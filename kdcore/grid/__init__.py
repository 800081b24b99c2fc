"""Many runs on many machines: the jobs that DVC's stages ask for, and the engines that run them."""
