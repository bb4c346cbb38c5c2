// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/problem"
)

// maxMistakes is how many mistakes are told at once.
const maxMistakes = 20

// checkJobs refuses jobs that could never run, and tells all that is wrong with
// them, so that it is not found out a day later and one by one.
func checkJobs(c *config.Config) error {
	var mistakes []error
	for i, job := range c.Discovery {
		j := jobCheck{config: c, job: job, path: fmt.Sprintf("discovery[%d]", i)}
		j.check()
		mistakes = append(mistakes, j.mistakes...)
	}
	if len(mistakes) == 0 {
		return nil
	}
	if more := len(mistakes) - maxMistakes; more > 0 {
		mistakes = append(mistakes[:maxMistakes], fmt.Errorf("and %d more", more))
	}
	return problem.With(fmt.Errorf("%w: %w", tallystick.ErrInvalid, errors.Join(mistakes...)),
		`correct the configuration and start again; "tally drivers" lists what drivers take`)
}

// A jobCheck gathers what is wrong with one job.
type jobCheck struct {
	config   *config.Config
	job      config.Job
	path     string
	mistakes []error
}

func (j *jobCheck) wrong(under, format string, args ...any) {
	j.mistakes = append(j.mistakes, fmt.Errorf("%s: job %s, %s", j.config.Where(j.path+under), j.job.Name, fmt.Sprintf(format, args...)))
}

func (j *jobCheck) check() {
	all := drivers.All()
	at := slices.IndexFunc(all, func(d driver.Driver) bool { return d.Name() == j.job.Driver })
	if at < 0 {
		var names []string
		for _, d := range all {
			names = append(names, d.Name())
		}
		j.wrong(".driver", "unknown driver %q: %s", j.job.Driver, orOneOf(j.job.Driver, names))
		return
	}
	opened := j.options(all[at])
	finder, dials := opened.(network.Finder)
	if !dials {
		return
	}
	for i, target := range j.job.Targets {
		if strings.HasPrefix(target, "@") {
			continue // a list is read anew by each look
		}
		if _, err := finder.Grammar().Count(target); err != nil {
			j.wrong(fmt.Sprintf(".targets[%d]", i), "target %s", plain(err))
		}
	}
}

// options checks the options, and returns the driver opened with those that are
// good.
func (j *jobCheck) options(d driver.Driver) any {
	var names []string
	for _, o := range d.Options() {
		names = append(names, o.Name)
	}
	values := j.job.Values()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(names, name) {
			j.wrong(".options."+name, "unknown option %q: %s", name, orOneOf(name, names))
			delete(values, name)
		} else if _, err := d.Open(map[string]string{name: values[name]}); err != nil {
			j.wrong(".options."+name, "%s", plain(err))
			delete(values, name)
		}
	}
	opened, err := d.Open(values)
	if err != nil {
		j.wrong(".options", "%s", plain(err))
	}
	return opened
}

// orOneOf says which of the known words is meant, or names them all.
func orOneOf(word string, known []string) string {
	if near := problem.Nearest(strings.ToLower(word), known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "it is one of " + strings.Join(known, ", ")
}
