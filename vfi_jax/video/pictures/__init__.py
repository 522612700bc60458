"""Pictures in folders, and animations, as videos."""
