"""What a run will cost before it is paid: FLOPs, hours here and on a GPU, disk and memory. Nothing is trained."""
