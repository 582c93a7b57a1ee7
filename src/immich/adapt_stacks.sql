-- Before v1.94 there are no stacks, only assets that name their parent: the parent's id names the stack.
INSERT INTO stack (id, cover) SELECT DISTINCT stack_parent, stack_parent FROM asset WHERE stack_parent IS NOT NULL;
UPDATE asset SET stack = stack_parent WHERE stack_parent IS NOT NULL AND stack IS NULL;
UPDATE asset SET stack = id WHERE stack IS NULL AND id IN (SELECT stack_parent FROM asset);
