// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger makes the process's logger, with the field names of etcd's.
func newLogger(c *config) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return nil, fmt.Errorf("--log-level=%s: %w", c.logLevel, err)
	}
	var outputs []string
	for _, o := range c.logOutputs {
		if o == "default" {
			o = "stderr"
		}
		outputs = append(outputs, o)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000000Z0700")
	if c.logFormat == "console" {
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
	}
	logger, err := zap.Config{
		Level:            zap.NewAtomicLevelAt(level),
		Encoding:         c.logFormat,
		EncoderConfig:    encoder,
		OutputPaths:      outputs,
		ErrorOutputPaths: []string{"stderr"},
		Sampling:         &zap.SamplingConfig{Initial: 100, Thereafter: 100},
	}.Build()
	if err != nil {
		return nil, fmt.Errorf("--log-outputs=%s: %w", strings.Join(c.logOutputs, ","), err)
	}
	return logger, nil
}
