"""The capacity model: costs measured here, fitted, and a simulation that carries them further."""
