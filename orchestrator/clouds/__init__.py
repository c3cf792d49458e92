"""What the engine stops VMs on."""
