"""What the operator wrote: plans and the UUID files they name, read, judged and described to editors."""
