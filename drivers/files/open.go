// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
)

// headSize is how much of a file is read to decide on it: the first lines of a
// kubeconfig and the beginning of every binary container fit.
const headSize = 512

// fileFlags open what was a regular file a moment ago. Should it have become a
// link, the kernel refuses; should it have become a FIFO, opening it does not block.
const fileFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// readHead fills buf from the beginning of the file.
func readHead(fd int, buf []byte) (int, error) {
	return retry(func() (int, error) { return unix.Pread(fd, buf, 0) })
}

// readAll reads a regular file of at most limit bytes as it was at one moment:
// when size or times differ before and after, it was written to meanwhile, and
// half of two contents is neither. It tries twice.
func readAll(fd int, limit int64) ([]byte, *unix.Stat_t, error) {
	for range 2 {
		var before, after unix.Stat_t
		if err := unix.Fstat(fd, &before); err != nil {
			return nil, nil, err
		}
		if before.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil, nil, errNotRegular
		}
		if before.Size > limit {
			return nil, &before, errTooLarge
		}
		data, err := readFull(fd, before.Size)
		if err != nil {
			return nil, nil, err
		}
		if err := unix.Fstat(fd, &after); err != nil {
			return nil, nil, err
		}
		if int64(len(data)) == after.Size && before.Mtim == after.Mtim && before.Ctim == after.Ctim {
			return data, &after, nil
		}
	}
	return nil, nil, errChanging
}

// readFull reads size bytes from the beginning, or fewer if the file ends earlier.
func readFull(fd int, size int64) ([]byte, error) {
	data := make([]byte, size)
	for have := 0; have < len(data); {
		n, err := retry(func() (int, error) { return unix.Pread(fd, data[have:], int64(have)) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return data[:have], nil
		}
		have += n
	}
	return data, nil
}

// readLimited reads r to its end, which must come within limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLarge
	}
	return data, err
}

// maxPassphrases bounds the passphrases, because each is tried on each sealed
// file and a try may take a good part of a second.
const maxPassphrases = 100

// readPassphrases reads the file that the option names. Its errors never quote it.
func readPassphrases(path string) ([]string, error) {
	data, err := readSmall(path, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't read the passphrases: %w", tallystick.ErrInvalid, err)
	}
	var list []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if line := strings.TrimSuffix(lines.Text(), "\r"); line != "" {
			list = append(list, line)
		}
	}
	if len(list) > maxPassphrases {
		return nil, fmt.Errorf("%w: %s holds %d passphrases, more than %d", tallystick.ErrInvalid, path, len(list), maxPassphrases)
	}
	return list, nil
}

// resolveTarget finds out what is at an absolute path.
func resolveTarget(path string) (target, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return target{}, loopError(path, err)
	}
	info, err := os.Lstat(real)
	if err != nil {
		return target{}, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return target{}, errNotRegular
	}
	return target{path: real, dir: info.IsDir()}, nil
}

// loopError gives a loop of links its error number, which filepath.EvalSymlinks hides.
func loopError(path string, err error) error {
	var st unix.Stat_t
	if statErr := unix.Stat(path, &st); errors.Is(statErr, unix.ELOOP) {
		return &fs.PathError{Op: "stat", Path: path, Err: statErr}
	}
	return err
}
