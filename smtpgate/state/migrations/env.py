"""Runs the migrations over the connection that `state.database` gives."""

from alembic import context

from smtpgate.state.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
