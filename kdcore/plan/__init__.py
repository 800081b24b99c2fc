"""What a run will cost before it is paid: FLOPs, hours here, disk. Nothing is trained."""
