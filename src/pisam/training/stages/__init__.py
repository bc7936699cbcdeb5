"""The two trainings of Pi-SAM, a LightningModule each."""
