"""This folder holds what Modbus, S7 and OPC UA share: the tags, the handshake, and a simulated PLC."""
