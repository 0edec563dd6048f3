# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("file handles (the way out of a container by inode numbers)")
handle = ctypes.create_string_buffer(136)
ctypes.c_uint.from_buffer(handle).value = 128
mount_id = ctypes.c_int()
check.refused("open_by_handle_at", -100, ctypes.addressof(handle), 0)
check.refused("open_by_handle_at", -1, 0, 0)
check.refused("name_to_handle_at", -100, b"/", ctypes.addressof(handle), ctypes.addressof(mount_id), 0)
check.refused("pidfd_getfd", -1, 0, 0)
check.refused("kcmp", os.getpid(), os.getpid(), 0, 0, 0)
check.done()
