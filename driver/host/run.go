// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/driver"
)

const (
	// maxOutput is how much of each part of a command's output is kept, in bytes.
	maxOutput = 1 << 20
	// defaultTimeout is that of a Command without one.
	defaultTimeout = time.Minute
	// lingering is for how long a daemon that a command left running may hold on to its
	// output before the output is closed.
	lingering = 2 * time.Second
	// morePrograms is where programs of administrators are, which the PATH of a service may lack.
	morePrograms = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
)

// Run runs a command to its end. One that takes too long gives what it has said, Exit -1
// and an error that wraps os.ErrDeadlineExceeded.
func (local) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if err := runnable(ctx, &c); err != nil {
		return driver.Output{}, err
	}
	path := strings.TrimPrefix(os.Getenv("PATH")+":"+morePrograms, ":")
	program, err := findProgram(c.Args[0], path)
	if err != nil {
		return driver.Output{}, err
	}
	within, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	stdout, stderr := &bounded{most: maxOutput}, &bounded{most: maxOutput}
	command := exec.CommandContext(within, program, c.Args[1:]...)
	command.Dir, command.Env = c.Dir, append([]string{"PATH=" + path, "LANG=C"}, c.Env...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(c.Stdin), stdout, stderr
	// A group of its own, so that all that it started can be ended with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = lingering
	err = command.Run()
	output := driver.Output{Stdout: stdout.text.Bytes(), Stderr: stderr.text.Bytes(), Exit: -1}
	if command.ProcessState != nil {
		output.Exit = command.ProcessState.ExitCode()
	}
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return output, ctx.Err()
	case within.Err() != nil && output.Exit == -1:
		return output, tooSlow(c)
	case err == nil, errors.As(err, &status), errors.Is(err, exec.ErrWaitDelay):
		return output, nil
	}
	return output, fmt.Errorf("couldn't run %s: %w", c.Args[0], err)
}

// runnable checks a command and fills in what it leaves open.
func runnable(ctx context.Context, c *driver.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(c.Args) == 0 || c.Args[0] == "" || strings.Contains(c.Args[0], "/") && !filepath.IsAbs(c.Args[0]) {
		return invalid("a command begins with a program: an absolute path, or a name")
	}
	for _, text := range slices.Concat(c.Args, c.Env) {
		if strings.ContainsRune(text, 0) {
			return invalid("a command has no byte 0 in it")
		}
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if !filepath.IsAbs(c.Dir) {
		return invalid("%q is not an absolute path", c.Dir)
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return nil
}

func tooSlow(c driver.Command) error {
	return fmt.Errorf("%s was ended: %w: it took longer than %v", c.Args[0], os.ErrDeadlineExceeded, c.Timeout)
}

// findProgram does what exec.LookPath does, with a PATH of our own.
func findProgram(name, path string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, directory := range filepath.SplitList(path) {
		program := filepath.Join(directory, name)
		info, err := os.Stat(program)
		if err == nil && filepath.IsAbs(program) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return program, nil
		}
	}
	return "", noProgram(name)
}

func noProgram(name string) error {
	return fmt.Errorf("couldn't run %s: %w: give its path, or install it", name, fs.ErrNotExist)
}

// bounded keeps the first bytes of what is written to it, at most so many.
type bounded struct {
	most int
	text bytes.Buffer
}

func (b *bounded) Write(text []byte) (int, error) {
	b.text.Write(text[:min(len(text), b.most-b.text.Len())])
	return len(text), nil
}
