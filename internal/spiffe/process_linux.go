// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
)

// A process is one that runs, by its directory in /proc. That directory is held
// open: when the process ends, what is in it ends with it, and it never shows another
// process that was given the same number.
type process struct {
	directory int
	started   string // when, in ticks since the machine did
	uid       uint32 // effective, when it was opened
}

// identify returns who is at the other end.
func identify(conn *net.UnixConn) (*caller, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("couldn't ask who is at the other end: %w", err)
	}
	var c *caller
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			failed = err
			return
		}
		c = &caller{pid: cred.Pid, uid: cred.Uid, gid: cred.Gid}
		c.process, failed = openProcess(int(fd), cred)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("couldn't find out who is at the other end: %w", err)
	}
	return c, nil
}

// openProcess opens the directory of a process that has connected. Between the
// connection and the opening the process could end and its number be given to another. A
// kernel from 6.5 on tells which process is meant, for as long as it runs; on older ones,
// what is found must at least be of the same user.
func openProcess(socket int, cred *unix.Ucred) (*process, error) {
	if cred.Pid <= 0 {
		return nil, nil // it is in a name space of its own: only its user is known
	}
	pidfd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	known := err == nil
	if known {
		defer unix.Close(pidfd)
	} else if !errors.Is(err, unix.ENOPROTOOPT) {
		return nil, fmt.Errorf("%w: process %d has ended: %w", tallystick.ErrDenied, cred.Pid, err)
	}
	p, err := openDirectory(cred.Pid)
	if err != nil {
		return nil, err
	}
	if known && ended(pidfd) {
		p.close()
		return nil, fmt.Errorf("%w: process %d has ended", tallystick.ErrDenied, cred.Pid)
	}
	if p.uid != cred.Uid {
		p.close()
		return nil, fmt.Errorf("%w: process %d is of user %d by now", tallystick.ErrDenied, cred.Pid, p.uid)
	}
	return p, nil
}

// openDirectory opens what /proc has of the process that has a number now.
func openDirectory(pid int32) (*process, error) {
	directory, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("couldn't look at process %d: %w", pid, err)
	}
	p := &process{directory: directory}
	if p.started, p.uid, err = p.facts(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// ended says whether a process does not run any more (pidfd_open(2)).
func ended(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err != nil || n != 0
}

// facts returns when the process started, and its effective user.
func (p *process) facts() (started string, uid uint32, err error) {
	stat, err := p.read("stat")
	if err != nil {
		return "", 0, err
	}
	// The name of the program is in brackets and may hold any (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const starttime = 22 - 3 // of the fields behind the name
	if len(fields) <= starttime {
		return "", 0, fmt.Errorf("%w: the state of a process cannot be read", tallystick.ErrInvalid)
	}
	status, err := p.read("status")
	if err != nil {
		return "", 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			ids := strings.Fields(rest) // real, effective, saved, of file access
			if len(ids) == 4 {
				n, err := strconv.ParseUint(ids[1], 10, 32)
				return fields[starttime], uint32(n), err
			}
		}
	}
	return "", 0, fmt.Errorf("%w: a process does not tell its user", tallystick.ErrInvalid)
}

// maxStatus bounds files of /proc, in bytes.
const maxStatus = 64 << 10

func (p *process) read(name string) ([]byte, error) {
	fd, err := unix.Openat(p.directory, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("couldn't look at a process: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxStatus))
}

// program returns the file that the process runs now, its path, and what names its
// contents. The caller closes the file. The path is only returned where it leads to that
// same file from here: a process in a container has paths of its own.
func (p *process) program() (*os.File, string, fileID, error) {
	started, _, err := p.facts()
	if err == nil && started != p.started {
		err = fmt.Errorf("%w: the process is another one", tallystick.ErrDenied)
	}
	if err != nil {
		return nil, "", fileID{}, err
	}
	fd, err := unix.Openat(p.directory, "exe", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", fileID{}, fmt.Errorf("couldn't open the program of a process: %w", err)
	}
	file := os.NewFile(uintptr(fd), "exe")
	var inside, outside unix.Stat_t
	if err := unix.Fstat(fd, &inside); err != nil {
		return nil, "", fileID{}, errors.Join(fmt.Errorf("couldn't look at the program of a process: %w", err), file.Close())
	}
	id := fileID{device: inside.Dev, inode: inside.Ino, size: inside.Size, changed: inside.Ctim.Nano()}
	name := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(p.directory, "exe", name)
	if err != nil {
		return nil, "", fileID{}, errors.Join(fmt.Errorf("couldn't read the path of a program: %w", err), file.Close())
	}
	path := string(name[:n])
	if err := unix.Stat(path, &outside); err != nil || outside.Dev != inside.Dev || outside.Ino != inside.Ino {
		path = ""
	}
	return file, path, id, nil
}

// close lets go of the process.
func (p *process) close() {
	if p != nil {
		_ = unix.Close(p.directory) // it was open for looking only
	}
}
