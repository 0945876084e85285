"""Where HR images come from, and how a training sample is made of them on the device."""
