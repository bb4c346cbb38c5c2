// SPDX-License-Identifier: Apache-2.0

package files

import "golang.org/x/sys/unix"

// pseudoNames are the file systems that show the kernel's state instead of
// files, by the f_type of statfs(2). Reading there is pointless at best: some
// files block, some have effects, some never end. Autofs is among them because
// entering it mounts things. The numbers that package unix does not name are
// those of the kernel's sources.
var pseudoNames = map[uint32]string{
	unix.PROC_SUPER_MAGIC:     "proc",
	unix.SYSFS_MAGIC:          "sysfs",
	unix.DEBUGFS_MAGIC:        "debugfs",
	unix.TRACEFS_MAGIC:        "tracefs",
	unix.CGROUP_SUPER_MAGIC:   "cgroup",
	unix.CGROUP2_SUPER_MAGIC:  "cgroup2",
	unix.DEVPTS_SUPER_MAGIC:   "devpts",
	unix.BPF_FS_MAGIC:         "bpf",
	unix.SECURITYFS_MAGIC:     "securityfs",
	unix.PSTOREFS_MAGIC:       "pstore",
	unix.HUGETLBFS_MAGIC:      "hugetlbfs",
	unix.EFIVARFS_MAGIC:       "efivarfs",
	unix.SELINUX_MAGIC:        "selinuxfs",
	unix.SMACK_MAGIC:          "smackfs",
	unix.BINFMTFS_MAGIC:       "binfmt_misc",
	unix.AUTOFS_SUPER_MAGIC:   "autofs",
	unix.NSFS_MAGIC:           "nsfs",
	unix.RDTGROUP_SUPER_MAGIC: "resctrl",
	unix.PIPEFS_MAGIC:         "pipefs",
	unix.SOCKFS_MAGIC:         "sockfs",
	unix.ANON_INODE_FS_MAGIC:  "anon_inode",
	0x62656570:                "configfs",
	0x19800202:                "mqueue",
	0x65735543:                "fusectl",
	0x67596969:                "rpc_pipefs",
	0x6e667364:                "nfsd",
}

// pseudoFileSystem names the pseudo file system that an open file is on, or "".
func pseudoFileSystem(fd int) string {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return ""
	}
	return pseudoNames[uint32(st.Type)]
}
