"""The words of taly as frozen data: no IO, no clock, no chance."""
