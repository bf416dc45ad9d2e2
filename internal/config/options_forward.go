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
	return Option{Usage: "<listen> <target>", repeats: true, least: 2, most: 2, Block: block, set: func(t *Tunnel, args []string) error {
		*list(t) = append(*list(t), &Forward{Listen: args[0], Target: args[1]})
		return nil
	}}
}

// dynamicForwardOption is the option for a dynamic forward.
var dynamicForwardOption = Option{
	Usage: "<listen>", repeats: true, least: 1, most: 1,
	set: func(t *Tunnel, args []string) error {
		t.DynamicForwards = append(t.DynamicForwards, &DynamicForward{Listen: args[0]})
		return nil
	},
	Block: map[string]Option{
		"user": {Usage: "<name> <password>", repeats: true, least: 2, most: 2, set: func(t *Tunnel, args []string) error {
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
	return Option{Usage: usage, least: 1, most: 1, set: func(t *Tunnel, args []string) error {
		return set(t, args[0])
	}}
}
