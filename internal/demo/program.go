// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
)

// A program is Tallystick, run as people run it: commands, and a server that is asked over
// its API by two people.
type program struct {
	path, dir, config string
	wrapping          string // file of the wrapping key that everything is under
	story             Story

	server *exec.Cmd // nil until start
	ended  chan error
	root   string // https://127.0.0.1:PORT
	link   string // with which a person who watches signs in

	opener, approver *http.Client // who are signed in

	spent time.Duration // processor time of those that have ended
}

// count adds what a process that has ended has spent.
func (p *program) count(cmd *exec.Cmd) {
	if state := cmd.ProcessState; state != nil {
		p.spent += state.UserTime() + state.SystemTime()
	}
}

// newProgram makes a directory for it.
func newProgram(path, dir string, story Story) (*program, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make a directory for Tallystick: %w", err)
	}
	return &program{path: path, dir: dir, config: filepath.Join(dir, "tally.yaml"), wrapping: filepath.Join(dir, "wrapping-1.key"), story: story}, nil
}

// configure writes its configuration.
func (p *program) configure(text string) error {
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("couldn't write the configuration: %w", err)
	}
	return nil
}

// run runs one command to its end, and returns what it wrote to standard output.
func (p *program) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.path, args...)
	var out, wrong bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, &out, &wrong
	err := cmd.Run()
	p.count(cmd)
	if err != nil {
		return out.String(), fmt.Errorf("couldn't run tally %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(wrong.Bytes()))
	}
	return out.String(), nil
}

// typed runs a command that a person would type, and says so.
func (p *program) typed(ctx context.Context, args ...string) (string, error) {
	p.story.Did("tally " + strings.Join(args, " "))
	return p.run(ctx, append(args, "--config", p.config)...)
}

// signInLink is what "tally up" prints, or "tally user link".
var signInLink = regexp.MustCompile(`(https://[^/\s]+)?/sign-in/([A-Za-z0-9_-]+)`)

// startTime is how long the server may take to come up.
const startTime = 2 * time.Minute

// start starts the server and signs both people in.
func (p *program) start(ctx context.Context) error {
	links := map[string]string{}
	for _, name := range []string{"olga", "anton"} {
		text, err := p.typed(ctx, "user", "link", name, "--role", "operator")
		if err != nil {
			return err
		}
		found := signInLink.FindStringSubmatch(text)
		if found == nil {
			return fmt.Errorf("%w: tally user link gave no link", tallystick.ErrUnavailable)
		}
		links[name] = found[2]
	}
	viewer, err := p.typed(ctx, "user", "link", "guest", "--role", "viewer")
	if err != nil {
		return err
	}
	if err := p.up(ctx); err != nil {
		return err
	}
	if found := signInLink.FindStringSubmatch(viewer); found != nil {
		p.link = p.root + "/sign-in/" + found[2]
	}
	if p.opener, err = p.signIn(ctx, links["olga"]); err != nil {
		return err
	}
	p.approver, err = p.signIn(ctx, links["anton"])
	return err
}

// up starts the server, and returns when it says where it is.
func (p *program) up(ctx context.Context) error {
	p.story.Did("tally up --listen 127.0.0.1:0")
	p.server = exec.Command(p.path, "up", "--listen", "127.0.0.1:0", "--config", p.config)
	p.server.Dir = p.dir
	p.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // it goes when the demo is killed, too
	log, err := os.OpenFile(filepath.Join(p.dir, "up.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own
	p.server.Stderr = log
	out, err := p.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.server.Start(); err != nil {
		return fmt.Errorf("couldn't start Tallystick: %w", err)
	}
	said := make(chan string, 1)
	p.ended = make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if root := regexp.MustCompile(`https://127\.0\.0\.1:\d+`).FindString(lines.Text()); root != "" {
				select {
				case said <- root:
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, out) // a line that is too long ends the scanner, and the server must not stall
		p.ended <- p.server.Wait()
	}()
	select {
	case p.root = <-said:
		return nil
	case err := <-p.ended:
		p.ended <- err
		return fmt.Errorf("%w: Tallystick ended at once; see %s", tallystick.ErrUnavailable, log.Name())
	case <-time.After(startTime):
		return fmt.Errorf("%w: Tallystick did not come up in %s; see %s", tallystick.ErrUnavailable, startTime, log.Name())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopTime is how long the server may take to end before it is killed.
const stopTime = 20 * time.Second

// stop ends the server.
func (p *program) stop() error {
	if p.server == nil || p.server.Process == nil {
		return nil
	}
	if err := p.server.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.ended:
		p.count(p.server)
		if err != nil {
			return fmt.Errorf("the program did not end well: %w; see %s", err, filepath.Join(p.dir, "up.log"))
		}
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("%w: Tallystick did not end in %s and was killed", tallystick.ErrUnavailable, stopTime), p.server.Process.Kill())
	}
}
