package config

// forwardOption is an option for a local or remote forward.
func forwardOption(list func(*Tunnel) *[]*Forward) Option {
	block := make(map[string]Option)
	for name, o := range RawOptions {
		block[name] = oneArgument(o.Usage, func(t *Tunnel, arg string) error {
			forwards := *list(t)
			return o.Set(&forwards[len(forwards)-1].ForwardOptions, arg)
		})
	}
	return Option{Usage: "<listen> <target>", repeats: true, Block: block, set: func(t *Tunnel, args []string) error {
		if len(args) != 2 {
			return errUsage
		}
		*list(t) = append(*list(t), &Forward{Listen: args[0], Target: args[1]})
		return nil
	}}
}

// dynamicForwardOption is the option for a dynamic forward.
var dynamicForwardOption = Option{
	Usage: "<listen>", repeats: true,
	set: func(t *Tunnel, args []string) error {
		if len(args) != 1 {
			return errUsage
		}
		t.DynamicForwards = append(t.DynamicForwards, &DynamicForward{Listen: args[0]})
		return nil
	},
	Block: map[string]Option{
		"user": {Usage: "<name> <password>", repeats: true, set: func(t *Tunnel, args []string) error {
			if len(args) != 2 {
				return errUsage
			}
			f := lastDynamicForward(t)
			f.Users = append(f.Users, ProxyUser{Name: args[0], Password: args[1]})
			return nil
		}},
		"idle_timeout": oneArgument("<duration>", func(t *Tunnel, arg string) (err error) {
			lastDynamicForward(t).IdleTimeout, err = positiveDuration(arg)
			return err
		}),
		"max_connections": oneArgument("<n>", func(t *Tunnel, arg string) (err error) {
			lastDynamicForward(t).MaxConnections, err = positive(arg)
			return err
		}),
	},
}

// lastDynamicForward returns the one whose block is being read.
func lastDynamicForward(t *Tunnel) *DynamicForward {
	return t.DynamicForwards[len(t.DynamicForwards)-1]
}

// oneArgument is an option with one argument.
func oneArgument(usage string, set func(t *Tunnel, arg string) error) Option {
	return Option{Usage: usage, set: func(t *Tunnel, args []string) error {
		if len(args) != 1 {
			return errUsage
		}
		return set(t, args[0])
	}}
}
