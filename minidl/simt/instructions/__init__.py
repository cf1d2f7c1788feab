"""The families of instructions, one file each. All are loaded with the machine; what each can do stands in
`..table`."""
